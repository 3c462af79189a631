"""The verbs `init` and `facility`."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from schemas.check import check
from schemas.errors import ConfigurationError
from schemas.recomputation import Asked, decode
from schemas.time import moment
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


def test_a_later_version_says_from_when_it_counts_and_that_nothing_restarts(
    fresh_kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    where = ["--bootstrap", fresh_kafka.bootstrap]
    halo = facility_file("2MW").read_text()
    lower, lowest = tmp_path / "lower.toml", tmp_path / "lowest.toml"
    lower.write_text(halo.replace("budget_watts = 125_000", "budget_watts = 120_000"))
    lowest.write_text(halo.replace("budget_watts = 125_000", "budget_watts = 110_000"))
    first = CliRunner().invoke(facility.command, ["publish", str(facility_file("2MW")), *where])
    assert first.stderr == ""
    began = datetime.now(UTC)
    later = CliRunner().invoke(facility.command, ["publish", str(lower), *where])
    said = re.search(r"ruh: version 2 counts from (.+) UTC on; no worker starts again", later.stderr)
    assert said, later.stderr
    ahead = datetime.fromisoformat(f"{said[1]}+00:00") - began
    assert timedelta(seconds=8) < ahead < timedelta(seconds=20)
    past = CliRunner().invoke(
        facility.command, ["publish", str(lowest), "--effective-from", "2026-01-31T00:00Z", *where]
    )
    assert re.search(r"ruh: version 3 counts from .+ on, not from 2026-01-31 00:00:00 UTC", past.stderr)
    assert "`wattline recompute`" in past.stderr


def test_a_version_that_counts_later_than_it_says_asks_for_the_windows_between(
    fresh_kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    where = ["--bootstrap", fresh_kafka.bootstrap]
    lower = tmp_path / "lower.toml"
    lower.write_text(facility_file("2MW").read_text().replace("budget_watts = 125_000", "budget_watts = 120_000"))
    CliRunner().invoke(facility.command, ["publish", str(facility_file("2MW")), *where])
    since = (datetime.now(UTC) - timedelta(minutes=5)).replace(microsecond=0)
    arguments = ["publish", str(lower), "--effective-from", since.isoformat(), *where]
    assert "the windows of" in CliRunner().invoke(facility.command, arguments).stderr
    asked = [decode(message) for message in asyncio.run(read_to_end(fresh_kafka.bootstrap, "recomputations.v1"))]
    assert sorted(each.site or "" for each in asked if isinstance(each, Asked)) == ["dmm", "ruh"]
    for each in asked:
        assert isinstance(each, Asked) and (each.reason, moment(each.first_second)) == ("facility", since)
        assert (each.offset, each.end_second > each.first_second) == (4, True)
    CliRunner().invoke(facility.command, arguments)
    assert len(asyncio.run(read_to_end(fresh_kafka.bootstrap, "recomputations.v1"))) == 2
