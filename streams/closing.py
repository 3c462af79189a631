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
NO_TIME = -(1 << 62)
"""The watermark of a stream that has read nothing."""


class Passage(NamedTuple):
    """One drain of one stream by message: `rows[i] : rows[i + 1]` are those of the message at `offset[i]`."""

    rows: Int64s
    offset: Int64s
    oldest: Int64s
    """Smallest event time in the message."""
    newest: Int64s
    """Largest event time in the message."""
    before: Int64s
    """Watermark before the message."""
    after: Int64s
    """Watermark after it."""

    def by_row(self, column: Int64s) -> Int64s:
        """Return one value a row of a column that has one value a message."""
        return np.repeat(column, np.diff(self.rows))

    def __len__(self) -> int:
        return len(self.offset)


def passage(time: Int64s, offset: Int64s, watermark: int) -> Passage:
    """Return what passes: rows in log order, `watermark` as it was before them. At least one row."""
    starts = np.flatnonzero(np.diff(offset, prepend=offset[0] - 1))
    newest = np.maximum.reduceat(time, starts)
    after = np.maximum(np.maximum.accumulate(newest), watermark)
    before = np.concatenate(([watermark], after[:-1]))
    oldest = np.minimum.reduceat(time, starts)
    return Passage(np.append(starts, len(time)), offset[starts], oldest, newest, before, after)


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
