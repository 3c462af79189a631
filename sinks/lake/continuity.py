"""Whether a log still goes on where a table stopped: the questions asked before one record is read.

Retention may have passed the position, a topic may have been re-created, shorter or longer than before
(which no offset shows, traps.md 39), and each of these would lose rows without a word. So each of them
halts the writer with what is lost and what to do. On a compacted topic gaps are the rule: there the
newest record of a key is what counts, and the witness itself may be gone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, NamedTuple

from schemas.errors import DataLossError
from schemas.message import Message
from sinks.lake.positions import NO_WITNESS, Position, Source, witness

ADOPT = (
    "`wattline lake adopt` says for every table what is lost and where it would go on; `wattline lake adopt --yes` "
    "goes on there and keeps a row of it in `adoptions`"
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


class Break(NamedTuple):
    """Say how a log does not go on where a table stopped.

    `passed`: what is next is gone, and the log goes on later, behind `lost` messages. `replaced`: other records
    lie where the table has been, or none; how many were lost nobody can know.
    """

    kind: Literal["passed", "replaced", "hole"]
    sentence: str
    lost: int | None = None
    goes_on: int | None = None


def find_break(table: str, source: Source, position: Position, log: Log, *, is_compacted: bool) -> Break | None:
    """Return how `source` does not go on at `position` of `table`, None where it does."""
    where = f"table {table}, {source}: "
    if position.next < log.start:
        lost = log.start - position.next
        return Break(
            "passed",
            f"{where}the next offset is {position.next} and the log begins at {log.start}: {lost} "
            f"messages after {moment(position)} were deleted by retention before they were written",
            lost,
            log.start,
        )
    if position.next > log.end:
        return Break(
            "replaced",
            f"{where}the next offset is {position.next} and the log ends at {log.end}: the topic was re-created, or "
            f"the broker lost what it had acknowledged. Messages since {moment(position)} may be lost",
        )
    if position.next == log.start:
        return None  # the witness is gone with the rest, and nothing lies between
    if _is_same_log(position, log, is_compacted):
        return None
    return Break(
        "replaced",
        f"{where}the record at offset {position.next - 1} is not the one that was written last (at "
        f"{moment(position)}): the topic was re-created and has grown past the position",
    )


def require_continuity(table: str, source: Source, position: Position, log: Log, *, is_compacted: bool) -> None:
    """Raise DataLossError where `source` does not go on at `position` of `table`; return where it does."""
    if broken := find_break(table, source, position, log, is_compacted=is_compacted):
        raise data_loss(broken)


def hole(where: str, expected: int, found: int) -> Break:
    """Return the break of offsets `[expected, found)` that are missing in the middle of a log."""
    said = (
        f"{where}: offsets {expected} to {found - 1} are missing in the log, {found - expected} messages. "
        "Nothing of ours makes such a hole: look at the broker's disk, and whether the topic was ever compacted"
    )
    return Break("hole", said, found - expected, found)


def data_loss(broken: Break) -> DataLossError:
    """Return the error that halts a writer, with the next step."""
    return DataLossError(f"{broken.sentence}. {ADOPT}.")


def moment(position: Position) -> str:
    """Return when the last record that a table took was appended."""
    return datetime.fromtimestamp(position.appended_milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _is_same_log(position: Position, log: Log, is_compacted: bool) -> bool:
    last = log.at_witness
    if last is not None and last.offset == position.next - 1:
        return witness(last.offset, last.appended // 1000, last.key, last.value) == position.witness
    if position.witness == NO_WITNESS:
        return True  # adopted behind a hole: nothing stood there, and nothing stands there now
    if not is_compacted:
        return False
    # The witness was compacted away. What still lies before the position must be older than it was:
    # a topic that was made anew holds younger records there.
    first = log.first
    return first is None or first.offset >= position.next or first.appended // 1000 <= position.appended_milliseconds
