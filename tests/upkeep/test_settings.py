"""`lake.toml`: what it may say, and a sentence for all that it may not."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from sinks.lake.tables import TABLES
from sinks.upkeep.settings import DEFAULTS, Keeping, UpkeepSettings, parse_settings, read_settings
from tests.conftest import REPOSITORY


def test_without_a_file_the_defaults_count_and_every_table_has_some(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == UpkeepSettings()
    assert set(DEFAULTS) == {table.name for table in TABLES}


def test_what_is_said_counts_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "lake.toml").write_text(
        "scrub_days = 14\ndisk_budget_bytes = 2_000_000_000\n[tables.gpu]\nkeep_days = 60"
    )
    found = read_settings(tmp_path)
    assert (found.scrub_days, found.keep_removed_hours, found.disk_budget_bytes) == (14, 24, 2_000_000_000)
    assert (found.tables["gpu"], found.tables["power"]) == (Keeping(60, 3), DEFAULTS["power"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keep_removed_hour = 3", r"keep_removed_hour is no setting \(did you mean keep_removed_hours\?\)"),
        ("scrub_days = 0", "scrub_days is 0; it must be a number above 0"),
        ('scrub_days = "7"', "scrub_days is '7'"),
        ("disk_budget_bytes = inf", "disk_budget_bytes is inf"),
        ("scrub_days = true", "scrub_days is True"),
        ("keep_removed_hours = 0.5", r"keep_removed_hours 0.5 is less than longest_query_secs 3600"),
        ("[tables.gpus]\nkeep_days = 3", r"tables.gpus is no setting \(did you mean gpu\?\)"),
        ("[tables.gpu]\nkeep_day = 3", r"tables.gpu.keep_day is no setting \(did you mean keep_days\?\)"),
        ("[tables.gpu]\nkeep_days = 2", r"tables.gpu: least_days 3 is more than keep_days 2"),
        ("[tables.facility]\nkeep_days = 9", "tables.facility: it is kept for ever"),
        ("tables = 3", "tables is 3"),
        ("[tables]\ngpu = 3", "tables.gpu is 3"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"lake\.toml: .*{said}"):
        parse_settings(tomllib.loads(text))


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_settings({"a": 1, "scrub_days": -1, "tables": {"power": {"keep_days": -4}}})
    assert str(raised.value).count(";") >= 3


def test_a_file_that_is_no_toml_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "lake.toml").write_text("keep")
    with pytest.raises(ConfigurationError, match=r"lake\.toml: is not TOML"):
        read_settings(tmp_path)


def test_the_example_of_the_docs_is_right() -> None:
    page = (REPOSITORY / "docs" / "lake.md").read_text()
    (example,) = [part for part in page.split("```toml\n")[1:] if "keep_removed_hours" in part]
    found = parse_settings(tomllib.loads(example.split("```")[0]))
    assert (found.tables["gpu"], found.keep_removed_hours, found.scrub_days) == (DEFAULTS["gpu"], 24, 7)
