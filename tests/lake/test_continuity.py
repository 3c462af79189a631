"""Whether a log goes on where a table stopped."""

from __future__ import annotations

import pytest

from schemas.errors import DataLossError
from schemas.message import Message
from sinks.lake.continuity import Log, hole, require_continuity
from sinks.lake.positions import Position, Source, position_after, witness

SOURCE = Source("telemetry.gpu.v1", 3)


def message(offset: int, value: bytes | None = b"value", appended: int = 1_772_366_400_000_000) -> Message:
    return Message(SOURCE.topic, SOURCE.partition, offset, appended, b"key", value)


def ask(position: Position, log: Log, *, is_compacted: bool = False) -> None:
    require_continuity("gpu", SOURCE, position, log, is_compacted=is_compacted)


def test_a_log_that_still_holds_the_last_record_goes_on() -> None:
    ask(position_after(message(9)), Log(0, 50, message(9)))


def test_a_log_whose_beginning_is_the_position_goes_on_without_its_witness() -> None:
    ask(position_after(message(9)), Log(10, 10))


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (Log(15, 50, message(15)), "5 messages after 2026-03-01T12:00:00.000"),
        (Log(0, 4), "log ends at 4"),
        (Log(0, 50, message(9, b"another")), "has grown past the position"),
        (Log(0, 50, message(11)), "has grown past the position"),
        (Log(0, 50, None), "has grown past the position"),
    ],
)
def test_a_log_that_lost_or_changed_what_came_before_halts(log: Log, said: str) -> None:
    with pytest.raises(DataLossError, match=said) as raised:
        ask(position_after(message(9)), log)
    assert "table gpu, telemetry.gpu.v1/3: " in str(raised.value)
    assert "wattline lake adopt" in str(raised.value)


def test_a_compacted_topic_may_have_lost_its_witness() -> None:
    position = position_after(message(9))
    ask(position, Log(0, 50, message(12), first=message(2)), is_compacted=True)
    ask(position, Log(0, 50, message(12), first=message(12)), is_compacted=True)
    ask(position, Log(0, 10, None, first=None), is_compacted=True)


def test_a_compacted_topic_made_anew_is_known_by_young_records_before_the_position() -> None:
    position = position_after(message(9))
    younger = message(2, appended=1_772_366_400_001_000)
    with pytest.raises(DataLossError, match="was re-created"):
        ask(position, Log(0, 50, message(12), first=younger), is_compacted=True)
    with pytest.raises(DataLossError, match="was re-created"):
        ask(position, Log(0, 50, message(9, b"another"), first=message(2)), is_compacted=True)


def test_a_hole_says_which_offsets_are_missing() -> None:
    assert "offsets 4 to 6 are missing in the log, 3 messages" in str(hole(SOURCE, 4, 7))


def test_the_witness_tells_apart_everything_that_makes_a_record() -> None:
    records = [(1, 2, b"a", b"b"), (2, 2, b"a", b"b"), (1, 3, b"a", b"b"), (1, 2, b"ab", b""), (1, 2, b"", b"ab")]
    records += [(1, 2, None, b"b"), (1, 2, b"", b"b"), (1, 2, b"a", None), (1, 2, b"a", b"")]
    found = {witness(*record) for record in records}
    assert len(found) == len(records)
    assert all(0 <= value < 2**63 for value in found)
