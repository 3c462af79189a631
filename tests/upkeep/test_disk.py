"""What a lake takes, how it grows, and when the disk is full."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sinks.lake.flush import Tables
from sinks.lake.positions import Source
from sinks.upkeep.disk import HORIZON_DAYS, days_left, read_disk, sentences
from sinks.upkeep.scrub import scrub
from sinks.upkeep.settings import Keeping, UpkeepSettings
from tests.lake.readings import GPU_TOPIC, START, gpu_message
from wattline.commands.lake import command

SOURCE = Source(GPU_TOPIC, 0)
FIRST = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = 86_400_000_000


def lake_of(lake: Path, days: int) -> Path:
    """Write a flush a day."""
    tables = Tables(lake, "event")
    for number in range(days):
        message = gpu_message(number, time=START)._replace(appended=START + number * DAY)
        tables.flush({SOURCE: [message]}, None)
    return lake


def test_a_table_grows_until_it_holds_its_days() -> None:
    tables = {"gpu": Keeping(30), "power": Keeping()}
    assert days_left({"gpu": 10.0, "power": 0.0}, {"gpu": 25.0, "power": 0}, tables, 49) == 4
    assert days_left({"gpu": 10.0, "power": 0.0}, {"gpu": 25.0, "power": 0}, tables, 50) is None
    assert days_left({"gpu": 10.0, "power": 1.0}, {"gpu": 30.0, "power": 0}, tables, 100) == 100


@given(st.floats(0, 1e12), st.floats(0, 100), st.integers(0, 10**13), st.none() | st.floats(1, 2000))
def test_more_room_never_means_fewer_days(rate: float, held: float, free: int, keep: float | None) -> None:
    tables = {"gpu": Keeping(keep)}
    less, more = (days_left({"gpu": rate}, {"gpu": held}, tables, room) for room in (free, 2 * free))
    assert (more or HORIZON_DAYS) >= (less or 0)


def test_a_lake_says_what_it_takes_and_for_how_long(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, 6)
    total = sum(path.stat().st_size for path in lake.glob("gpu/hour=*/*.parquet"))
    size, now = total / 6, FIRST + timedelta(days=6)
    free = int(10.5 * size)
    scrub(lake, now - timedelta(days=2), UpkeepSettings(), 60)
    disk = read_disk(lake, now, free)
    assert (disk.live_bytes["gpu"], disk.unused_bytes, disk.set_aside_bytes) == (total, 0, 0)
    assert disk.growth_bytes_a_day["gpu"] == pytest.approx(size)
    assert (disk.days_left, disk.holds_days) == (10, pytest.approx(16.5, rel=1e-3))
    (lake / "lake.toml").write_text(f"disk_budget_bytes = {int(6.2 * size)}")
    told = list(sentences(read_disk(lake, now, free), now))
    assert told[1] == f"growth: {size / 1e3:.1f} kB a day; the disk is full in 10 days, on 2026-03-17"
    assert told[2].endswith("holds 6.2 days")
    assert told[3] == "budget: gpu is kept 5 days instead of 30"
    assert told[-1] == "files: each hashed or written within the last 2.0 days (scrub_days 7)"


def test_the_verb_tells_it_to_people_and_to_programs(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, 2)
    shown = CliRunner().invoke(command, ["status", "--lake", str(lake), "--disk"])
    assert shown.stdout.startswith("disk: ") and "kB live" in shown.stdout
    answer = CliRunner().invoke(command, ["status", "--lake", str(lake), "--disk", "--format", "json"])
    told = json.loads(answer.stdout)
    assert told["live_bytes"]["gpu"] > 0 and told["racks"] is None and told["disk_budget_bytes"] is None
