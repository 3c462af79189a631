"""Retention takes whole files whose newest row is old enough by its append, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from schemas.message import Message
from sinks.lake.flush import Tables
from sinks.lake.log_check import check_log
from sinks.lake.positions import Source
from sinks.upkeep.retention import retention_duty
from tests.lake.readings import GPU_TOPIC, POWER_TOPIC, START, gpu_message, power_message, rows_of

SOURCE = Source(GPU_TOPIC, 0)
DAY_MICROSECONDS = 86_400_000_000
FIRST_APPEND = datetime(2026, 3, 1, 12, tzinfo=UTC)
YEAR_2024 = 1_709_294_400_000_000


def appended(message: Message, days: float) -> Message:
    """Return a message as appended so many days after 2026-03-01T12:00Z."""
    return message._replace(appended=START + int(days * DAY_MICROSECONDS))


def lake_of(lake: Path, flushes: list[list[float]]) -> Path:
    """Write a flush a list, of messages appended so many days after the first; their own time is of 2024."""
    tables, offset = Tables(lake, "event"), 0
    for flush in flushes:
        messages = []
        for days in flush:
            messages.append(appended(gpu_message(offset, time=YEAR_2024), days))
            offset += 1
        tables.flush({SOURCE: messages}, None)
    return lake


def offsets(lake: Path) -> list[int]:
    return sorted(set(rows_of(lake, "gpu").column("_offset").to_pylist()))


def after(lake: Path, days: float) -> list[str]:
    return list(retention_duty(lake, FIRST_APPEND + timedelta(days=days)))


def test_recorded_readings_are_kept_from_the_day_they_came(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [[0.0], [1.0], [2.0]])
    assert after(lake, 29.9) == []
    assert offsets(lake) == [0, 1, 2]
    (sentence,) = after(lake, 31.5)
    assert sentence.startswith("gpu: 16 rows in 2 files") and sentence.endswith("keep_days 30")
    assert offsets(lake) == [2]


def test_a_file_stays_as_long_as_its_newest_row(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [[0.0, 5.0]])
    assert after(lake, 34.9) == []
    assert len(after(lake, 35.1)) == 1
    assert not DeltaTable(str(lake / "gpu")).file_uris()


def test_one_commit_a_round_which_moves_no_position(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [[0.0], [1.0], [2.0]])
    after(lake, 40)
    delta = DeltaTable(str(lake / "gpu"))
    assert (delta.version(), delta.transaction_version("retain/gpu")) == (4, 1)
    position = Tables(lake).positions(SOURCE)["gpu"]
    assert position is not None and position.next == 3
    assert check_log(lake / "gpu") == []
    entry = (lake / "gpu" / "_delta_log" / f"{4:020d}.json").read_text().splitlines()
    words = next(action["commitInfo"] for action in map(json.loads, entry) if "commitInfo" in action)
    assert words["retention"] == "keep_days 30"


def test_each_table_has_its_own_days_and_lake_toml_says_them(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [[0.0]])
    Tables(lake, "event").flush({Source(POWER_TOPIC, 0): [appended(power_message(0, [1.0]), 0)]}, None)
    (lake / "lake.toml").write_text("[tables.power]\nkeep_days = 30\n[tables.gpu]\nkeep_days = 200")
    assert [sentence.split(":")[0] for sentence in after(lake, 100)] == ["power"]


def test_a_budget_shortens_the_raw_readings_first_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lake = lake_of(tmp_path, [[float(day)] for day in range(20)])
    size = sum(path.stat().st_size for path in lake.glob("gpu/hour=*/*.parquet")) // 20
    (lake / "lake.toml").write_text(f"disk_budget_bytes = {10 * size}\n")
    (sentence,) = after(lake, 19.5)
    assert "shortened from 30 days to 7 days to hold disk_budget_bytes" in sentence
    assert offsets(lake) == list(range(13, 20))
    assert after(lake, 19.5) == []
    assert not caplog.records


def test_a_budget_that_the_floors_do_not_allow_is_said_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lake = lake_of(tmp_path, [[float(day)] for day in range(6)])
    (lake / "lake.toml").write_text("disk_budget_bytes = 1\n")
    after(lake, 5.5)
    assert offsets(lake) == [3, 4, 5]
    assert "over the budget of 0.0 GB, and no table may be shortened further" in caplog.text


def test_a_folder_without_tables_stays_without(tmp_path: Path) -> None:
    assert after(tmp_path, 100) == []
    assert list(tmp_path.iterdir()) == []
