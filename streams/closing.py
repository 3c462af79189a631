"""When a second closes: at a position in the log, never at the end of a drain.

Each (topic, partition) is a stream of its own; its watermark is its largest admitted event time. A second
closes at the first message whose predecessors' watermark has passed its end and the grace. Rows of the
second that come from there on are late, even within one drain.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Time = TypeVar("Time", int, Int64s)

SECOND = 1_000_000
GRACE_MICROSECONDS = 250_000
LATENESS_SECS = 10
STRETCH_SECS = 5
"""How far the watermark may pass on before what came late is told."""
NO_TIME = -(1 << 62)
"""The watermark of a stream that has read nothing."""


class Messages(NamedTuple):
    """Messages in log order: `rows[i] : rows[i + 1]` are the rows of the one at `offset[i]`."""

    rows: Int64s
    offset: Int64s
    oldest: Int64s
    """Smallest event time in the message."""
    newest: Int64s
    """Largest event time in the message."""

    @classmethod
    def of(cls, time: Int64s, offset: Int64s, partition: NDArray[np.integer]) -> Messages:
        """Find the messages of rows that are ordered by partition and offset."""
        if not len(time):
            return cls(np.zeros(1, np.int64), offset, time, time)
        changes = (offset[1:] != offset[:-1]) | (partition[1:] != partition[:-1])
        starts = np.concatenate(([0], np.flatnonzero(changes) + 1))
        oldest, newest = np.minimum.reduceat(time, starts), np.maximum.reduceat(time, starts)
        return cls(np.append(starts, len(time)), offset[starts], oldest, newest)

    def part(self, start: int, end: int) -> Messages:
        """Return the messages whose rows are `[start, end)`."""
        first, last = np.searchsorted(self.rows, (start, end))
        rows = self.rows[first : last + 1] - start
        return Messages(rows, self.offset[first:last], self.oldest[first:last], self.newest[first:last])


class Passage(NamedTuple):
    """The messages of one drain of one stream, and its watermark before and after each."""

    messages: Messages
    before: Int64s
    after: Int64s

    @classmethod
    def of(cls, messages: Messages, watermark: int) -> Passage:
        """Let messages pass a stream whose watermark is `watermark`; at least one message."""
        after = np.maximum(np.maximum.accumulate(messages.newest), watermark)
        return cls(messages, np.concatenate(([watermark], after[:-1])), after)

    def __len__(self) -> int:
        return len(self.before)

    def by_row(self, column: Int64s) -> Int64s:
        """Return one value a row of a column that has one value a message."""
        return np.repeat(column, np.diff(self.messages.rows))

    def is_on_time(self, floor: int) -> bool:
        """Tell whether no row is late and none lies below the second `floor`."""
        oldest = self.messages.oldest // SECOND
        return bool(np.all(oldest >= np.maximum(closed_end(self.before), floor)))


def closed_end(watermark: Time) -> Time:
    """Return the end of the seconds that each watermark has closed: seconds below it are closed."""
    return (watermark - GRACE_MICROSECONDS) // SECOND


def final_end(watermark: Time) -> Time:
    """Return the end of the seconds that can no longer be revised: F = floor(watermark) − L."""
    return watermark // SECOND - LATENESS_SECS


class Revisable:
    """Remember the messages that hold a reading of a second that may still be revised."""

    def __init__(self) -> None:
        self._messages: deque[tuple[int, int]] = deque()

    def append(self, offset: Int64s, newest: Int64s) -> None:
        """Add messages in log order with the largest event time of each."""
        self._messages.extend(zip(offset.tolist(), (newest // SECOND).tolist(), strict=True))

    def first(self, second: int, otherwise: int) -> int:
        """Return the smallest offset of a message that holds a reading of a second ≥ `second`.

        What lies before it is forgotten: `second` never goes back. `otherwise` where there is none.
        """
        while self._messages and self._messages[0][1] < second:
            self._messages.popleft()
        return self._messages[0][0] if self._messages else otherwise
