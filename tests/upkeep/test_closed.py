"""When an hour is closed: judged by when rows were appended, never by the hour's own time."""

from __future__ import annotations

from datetime import datetime, timedelta

from sinks.lake.ledger import LiveFile
from sinks.upkeep.closed import CROWDED_FILES, IDLE, LATE_FOR_LONG, QUIET, due_hours

NOON = datetime(2026, 3, 1, 12)
MINUTE = timedelta(minutes=1)


def flush(hour: str, appended: datetime, size: int = 1000, number: int = 0) -> LiveFile:
    return LiveFile(f"hour={hour}/flush-{number}.parquet", size, hour, 10, appended)


def done(hour: str, appended: datetime, size: int = 1000) -> LiveFile:
    return LiveFile(f"hour={hour}/hour-0.parquet", size, hour, 10, appended)


def test_an_hour_is_due_when_the_writer_has_gone_on_past_it() -> None:
    files = [flush("2026-03-01T10", NOON), flush("2026-03-01T11", NOON + QUIET - MINUTE)]
    assert due_hours(files, NOON + QUIET) == []
    assert due_hours([*files, flush("2026-03-01T12", NOON + QUIET)], NOON + QUIET) == ["2026-03-01T10"]


def test_a_writer_that_has_stopped_leaves_hours_open_until_nobody_wrote_for_long() -> None:
    files = [flush("2026-03-01T10", NOON), flush("2026-03-01T11", NOON + MINUTE)]
    assert due_hours(files, NOON + IDLE - MINUTE) == []
    assert due_hours(files, NOON + IDLE) == ["2026-03-01T10"]
    assert due_hours(files, NOON + IDLE + MINUTE) == ["2026-03-01T10", "2026-03-01T11"]


def test_an_old_hour_that_is_replayed_now_is_open_for_as_long_as_it_is_added_to() -> None:
    files = [flush("2024-01-01T00", NOON), flush("2024-01-01T01", NOON + 2 * MINUTE)]
    assert due_hours(files, NOON + 3 * MINUTE) == []
    assert due_hours(files, NOON + IDLE + 2 * MINUTE) == ["2024-01-01T00", "2024-01-01T01"]


def test_an_hour_that_was_compacted_is_due_again_only_for_late_rows() -> None:
    later = flush("2026-03-01T13", NOON + 3 * IDLE)
    small, late = done("2026-03-01T10", NOON), flush("2026-03-01T10", NOON + IDLE)
    assert due_hours([small, later], NOON + 3 * IDLE) == []
    assert due_hours([small, late, later], NOON + 3 * IDLE) == ["2026-03-01T10"]


def test_a_large_hour_is_written_anew_only_for_many_late_rows_or_after_long() -> None:
    later, large = flush("2026-03-01T13", NOON + 3 * IDLE), done("2026-03-01T10", NOON, size=10**9)
    late = flush("2026-03-01T10", NOON + IDLE)
    assert due_hours([large, late, later], NOON + 3 * IDLE) == []
    assert due_hours([large, late], NOON + IDLE + LATE_FOR_LONG - MINUTE) == []
    assert due_hours([large, late], NOON + IDLE + LATE_FOR_LONG) == ["2026-03-01T10"]
    many = [flush("2026-03-01T10", NOON + IDLE, number=number) for number in range(64)]
    assert due_hours([large, *many, later], NOON + 3 * IDLE) == ["2026-03-01T10"]
    assert due_hours([large, late._replace(size=10**8), later], NOON + 3 * IDLE) == ["2026-03-01T10"]


def test_an_hour_that_is_added_to_for_ever_is_compacted_when_it_is_crowded() -> None:
    files = [flush("2026-03-01T10", NOON, number=number) for number in range(CROWDED_FILES)]
    assert due_hours(files[1:], NOON) == []
    assert due_hours(files, NOON) == ["2026-03-01T10"]


def test_rows_that_share_a_file_belong_to_no_hour_yet() -> None:
    assert due_hours([flush("mixed", NOON)], NOON + 10 * IDLE) == []
