"""An older snapshot of a lake: by time, by version, and what is said where it is gone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake
import pytest
from click.testing import CliRunner

from schemas.errors import ConfigurationError
from sinks.sql.at import read_at
from sinks.sql.connection import connect
from tests.sql.test_views import AT, append, meter_row
from wattline.commands.sql import command

DAY = datetime(2026, 3, 2)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Return a lake whose table `power` got a row at each of four hours of a day."""
    for version in range(4):
        append(tmp_path, "power", meter_row(version, AT, 1.0))
        written_at(tmp_path, "power", version, DAY + timedelta(hours=version))
    return tmp_path


def written_at(lake: Path, table: str, version: int, moment: datetime) -> None:
    """Set when a version was committed, by its own words."""
    entry = lake / table / "_delta_log" / f"{version:020d}.json"
    lines = [json.loads(line) for line in entry.read_text().splitlines()]
    for line in lines:
        if "commitInfo" in line:
            line["commitInfo"]["timestamp"] = int(moment.replace(tzinfo=UTC).timestamp() * 1000)
    entry.write_text("\n".join(map(json.dumps, lines)))


def rows_at(lake: Path, text: str) -> int:
    return connect(lake, at=read_at([text])).execute("SELECT count(*) FROM power").fetchall()[0][0]


@pytest.mark.parametrize(
    ("at", "rows"),
    [("power=0", 1), ("power=2", 3), ("2026-03-02T01:00:00", 2), ("2026-03-02T01:59:59.999", 2),
     ("2026-03-02T05:00+03:00", 3), ("2026-03-03", 4), ("2026-03-01", 0)],
)  # fmt: skip
def test_a_lake_is_shown_as_it_was(lake: Path, at: str, rows: int) -> None:
    """The newest version whose commit is not after the moment; before the first there was nothing."""
    assert rows_at(lake, at) == rows


def test_the_option_gives_the_older_answer_and_may_name_tables(lake: Path) -> None:
    asked = ["SELECT count(*) AS n FROM power", "--lake", str(lake), "--format", "csv"]
    answer = CliRunner().invoke(command, [*asked, "--at", "2026-03-03", "--at", "power=1"])
    assert answer.output == "n\n2\n"


@pytest.mark.parametrize("text", ["12", "yesterday", "gpus=3", "power=x"])
def test_what_is_no_time_and_no_version_says_what_is(lake: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"one time in UTC.*version of one table, as in gpu=12"):
        read_at([text])


def test_a_version_that_is_not_there_says_the_oldest(lake: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"power has no version 9: the newest is 3. The oldest is 0"):
        rows_at(lake, "power=9")


def test_a_cleaned_log_says_how_far_it_reaches(lake: Path) -> None:
    folder = lake / "power"
    deltalake.DeltaTable(str(folder), version=2).create_checkpoint()
    for version in (0, 1):
        (folder / "_delta_log" / f"{version:020d}.json").unlink()
    assert rows_at(lake, "power=2") == 3
    with pytest.raises(
        ConfigurationError, match=r"no version 1: its log was cleaned. The oldest is 2, of 2026-03-02 02"
    ):
        rows_at(lake, "power=1")
    with pytest.raises(ConfigurationError, match=r"does not reach back so far. The oldest is 2, of 2026-03-02 02"):
        rows_at(lake, "2026-03-02T01:00")


def test_a_version_whose_files_were_vacuumed_says_the_oldest_that_is_whole(lake: Path) -> None:
    delta = deltalake.DeltaTable(str(lake / "power"))
    delta.optimize.compact()
    delta = deltalake.DeltaTable(str(lake / "power"))
    delta.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
    with pytest.raises(ConfigurationError, match=r"at version 2 cannot be read any more: .* vacuumed.*--at power=4"):
        rows_at(lake, "power=2")
    assert connect(lake).execute("SELECT count(*) FROM power").fetchall() == [(4,)]


def test_explain_counts_files_and_says_why_they_stay_unread(lake: Path) -> None:
    append(lake, "power", meter_row(9, AT + timedelta(hours=5), 1.0))
    asked = ["SELECT count(*) FROM power WHERE time >= '2026-03-01 15:00'", "--lake", str(lake), "--explain"]
    (told,) = json.loads(CliRunner().invoke(command, [*asked, "--format", "json"]).stdout)
    assert (told["table"], told["files"], told["unread_by_hour"], told["read"]) == ("power", 5, 4, 1)
    assert (told["chosen_from"], told["rows"]) == (1, 1)
    plan = CliRunner().invoke(command, [*asked[:-1], "--plan"]).output
    assert "READ_PARQUET" in plan.upper().replace(" ", "_")
