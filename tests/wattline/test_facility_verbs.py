"""The verbs `init` and `facility`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.embedded import EmbeddedKafka
from schemas.check import check
from schemas.errors import ConfigurationError
from wattline.commands import facility, init
from wattline.scales import facility_file


def test_init_writes_a_facility_that_passes_the_check_and_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "facility.toml"
    assert CliRunner().invoke(init.command, [str(file)]).exit_code == 0
    assert check(file).findings == ()
    file.write_text("mine")
    result = CliRunner().invoke(init.command, [str(file)])
    assert isinstance(result.exception, ConfigurationError)
    assert file.read_text() == "mine"


def test_init_into_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(init.command, [str(tmp_path / "absent" / "facility.toml")])
    assert isinstance(result.exception, ConfigurationError)
    assert "No such file or directory" in str(result.exception)


@pytest.mark.parametrize("moment", ["yesterday", "2026-01-31T08:00:00"])
def test_a_moment_without_a_zone_is_refused(moment: str) -> None:
    arguments = ["publish", str(facility_file("2MW")), "--effective-from", moment]
    result = CliRunner().invoke(facility.command, arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert "not a time with a zone" in str(result.exception)


def test_publish_puts_a_facility_in_force_and_show_shows_it(fresh_kafka: EmbeddedKafka) -> None:
    where = ["--bootstrap", fresh_kafka.bootstrap]
    nothing = CliRunner().invoke(facility.command, ["show", *where])
    assert "wattline facility publish FILE" in str(nothing.exception)
    moment = ["--effective-from", "2026-01-31T08:00:00+03:00"]
    published = CliRunner().invoke(facility.command, ["publish", str(facility_file("2MW")), *moment, *where])
    shown = CliRunner().invoke(facility.command, ["show", *where])
    as_json = CliRunner().invoke(facility.command, ["show", "--format", "json", *where])
    assert published.output == shown.output
    assert "ruh  Riyadh: version 1 since 2026-01-31 05:00:00 UTC, 12 racks, 136 nodes, 656 GPUs" in shown.output
    assert [(each["path"], each["racks"]) for each in json.loads(as_json.output)] == [("dmm", 6), ("ruh", 12)]
