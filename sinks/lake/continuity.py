"""Whether a log still goes on where a table stopped: the questions asked before one record is read.

Retention may have passed the position, a topic may have been re-created, shorter or longer than before
(which no offset shows, traps.md 39), and each of these would lose rows without a word. So each of them
halts the writer with what is lost and what to do. On a compacted topic gaps are the rule: there the
newest record of a key is what counts, and the witness itself may be gone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from schemas.errors import DataLossError
from schemas.message import Message
from sinks.lake.positions import Position, Source, witness

ADOPT = (
    "To go on with what Kafka has now, move the lake's folder away and start with a new one, and keep the old one "
    "for its history (`wattline lake adopt` will do it in place)"
)


class Log(NamedTuple):
    """Say what a partition holds: offsets `[start, end)`; records are those found, or None.

    `at_witness` is the first record at or after the position's last one, `first` the first of the log
    (asked for on compacted topics only).
    """

    start: int
    end: int
    at_witness: Message | None = None
    first: Message | None = None


def require_continuity(table: str, source: Source, position: Position, log: Log, *, is_compacted: bool) -> None:
    """Raise DataLossError where `source` does not go on at `position` of `table`; return where it does."""
    where = f"table {table}, {source}: "
    if position.next < log.start:
        raise DataLossError(
            f"{where}the next offset is {position.next} and the log begins at {log.start}: {log.start - position.next} "
            f"messages after {_moment(position)} were deleted by retention before they were written. {ADOPT}."
        )
    if position.next > log.end:
        raise DataLossError(
            f"{where}the next offset is {position.next} and the log ends at {log.end}: the topic was re-created, or "
            f"the broker lost what it had acknowledged. Messages since {_moment(position)} may be lost. {ADOPT}."
        )
    if position.next == log.start:
        return  # the witness is gone with the rest, and nothing lies between
    if not _is_same_log(position, log, is_compacted):
        raise DataLossError(
            f"{where}the record at offset {position.next - 1} is not the one that was written last (at "
            f"{_moment(position)}): the topic was re-created and has grown past the position. {ADOPT}."
        )


def hole(table_topic: Source, expected: int, found: int) -> DataLossError:
    """Return the error of offsets that are missing in the middle of a log."""
    return DataLossError(
        f"{table_topic}: offsets {expected} to {found - 1} are missing in the log, {found - expected} messages. "
        f"Nothing of ours makes such a hole: look at the broker's disk and at DeleteRecords. {ADOPT}."
    )


def _is_same_log(position: Position, log: Log, is_compacted: bool) -> bool:
    last = log.at_witness
    if last is not None and last.offset == position.next - 1:
        return witness(last.offset, last.appended // 1000, last.key, last.value) == position.witness
    if not is_compacted:
        return False
    # The witness was compacted away. What still lies before the position must be older than it was:
    # a topic that was made anew holds younger records there.
    first = log.first
    return first is None or first.offset >= position.next or first.appended // 1000 <= position.appended_milliseconds


def _moment(position: Position) -> str:
    return datetime.fromtimestamp(position.appended_milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
