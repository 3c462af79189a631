"""Rows that shared a file go to hours of their own, but for those that would make a file a row."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sinks.lake import flush
from sinks.lake.flush import Tables
from sinks.lake.ledger import Ledger
from sinks.lake.positions import Source
from sinks.lake.tables import BY_NAME
from sinks.upkeep import mixed
from sinks.upkeep.mixed import unmix
from sinks.upkeep.small import Compaction
from tests.lake.readings import GPU_TOPIC, START, gpu_message
from tests.upkeep.compacting import by_place, rows_in

TABLE = BY_NAME["gpu"]
HOUR = 3_600_000_000


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a lake of one flush over five hours, of which it gave a file to one: eight to sixteen rows an hour."""
    monkeypatch.setattr(flush, "MAX_FILES", 2)
    hours = [0, 0, 0, 0, 1, 2, 2, 3, 4]
    messages = [gpu_message(number, time=START + hour * HOUR + number) for number, hour in enumerate(hours)]
    Tables(tmp_path, "event").flush({Source(GPU_TOPIC, 0): messages}, None)
    return tmp_path


def hours_of(lake: Path) -> dict[str, int]:
    """Return how many rows the files of each hour have."""
    counts: dict[str, int] = {}
    for file in Ledger(TABLE, lake).live().values():
        counts[file.hour] = counts.get(file.hour, 0) + file.rows
    return counts


def test_rows_move_to_hours_that_have_enough_of_them(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "LEAST_ROWS", 16)
    before, ledger = by_place(rows_in(lake, "gpu")), Ledger(TABLE, lake)
    assert hours_of(lake) == {"2026-03-01T12": 32, "mixed": 40}
    (file,) = [each for each in ledger.live().values() if each.hour == "mixed"]
    assert str(unmix(ledger, file)) == (
        "gpu: 16 rows of a mixed file went to 1 hours, 24 stay together: too few for files of their own"
    )
    assert hours_of(lake) == {"2026-03-01T12": 32, "2026-03-01T14": 16, "mixed": 24}
    assert by_place(rows_in(lake, "gpu")).equals(before)
    (file,) = [each for each in ledger.live().values() if each.hour == "mixed"]
    assert unmix(ledger, file) is None


def test_rows_move_to_hours_that_have_files(lake: Path) -> None:
    ledger = Ledger(TABLE, lake)
    before = by_place(rows_in(lake, "gpu"))
    (file,) = [each for each in ledger.live().values() if each.hour == "mixed"]
    assert unmix(ledger, file) is None, "no hour has 64 rows, and none of these has a file"
    Tables(lake, "event").flush({Source(GPU_TOPIC, 0): [gpu_message(9, time=START + HOUR)]}, None)
    ledger.reopen()
    told = unmix(ledger, file)
    assert told is not None and (told.rows, told.hours, told.left) == (8, 1, 32)
    assert by_place(rows_in(lake, "gpu")).filter(_offset=9).height == 8
    assert by_place(rows_in(lake, "gpu")).height == before.height + 8


def test_the_duty_moves_them_and_compacts_every_hour(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "LEAST_ROWS", 8)
    before = by_place(rows_in(lake, "gpu"))
    said = list(Compaction()(lake, datetime(2027, 1, 1, tzinfo=UTC)))
    assert said[0] == "gpu: 40 rows of a mixed file went to 4 hours"
    assert [sentence.partition(":")[0] for sentence in said[1:]] == [f"gpu 2026-03-01T{hour}" for hour in range(12, 17)]
    assert by_place(rows_in(lake, "gpu")).equals(before)
    assert all(file.is_of_hour for file in Ledger(TABLE, lake).live().values())
