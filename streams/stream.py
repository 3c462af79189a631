"""One stream: a partition of one topic with its watermark, what it has closed, and where to read it again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.partial import OPEN_END, PARTIAL, Envelope, Partial
from streams.closing import LATENESS_SECS, NO_TIME, SECOND, Passage, Revisable, closed_end, final_end, passage

Int64s = NDArray[np.int64]

IDLE_AFTER_MICROSECONDS = 2_000_000
TELL_AGAIN_MICROSECONDS = 30_000_000
ROWS_A_PARTIAL = 8_000
"""About 900 kB of Arrow: below every client's default limit of a message."""


class Stream(ABC):
    """Close the seconds of one partition. Deterministic in its log; only `idle` looks at a clock.

    `floor` is the first second that may be told: seconds below it were not read whole.
    """

    def __init__(self, topic: str, partition: int, *, floor: int | None, now: int) -> None:
        self.topic = topic
        self.partition = partition
        self.floor = floor
        self.watermark = NO_TIME
        self.closed = floor
        self.too_late = 0
        self.next_offset: int | None = None
        self._from_offset: int | None = None
        self._revisable = Revisable()
        self._active_at = now
        self._told: int | None = None
        self._told_at = NO_TIME

    @abstractmethod
    def _take(self, rows: pl.DataFrame, passing: Passage) -> list[Partial]:
        """Apply rows in log order (column `time` as µs); return closings and revisions."""

    @abstractmethod
    def _seconds(self, first: int, end: int) -> pl.DataFrame:
        """Return PARTIAL rows of the seconds `[first, end)` as they stand now."""

    @property
    def hold_secs(self) -> int:
        """Return how many seconds before a window its readings may lie."""
        return 0

    def feed(self, rows: pl.DataFrame, next_offset: int, now: int) -> list[Partial]:
        """Take admitted rows in log order and the offset after the last message; return what it closes."""
        self._active_at, self._told = now, None
        if self._from_offset is None:
            self._from_offset = int(rows["_offset"][0]) if len(rows) else next_offset
        partials: list[Partial] = []
        if len(rows):
            time = rows["time"].cast(pl.Int64).to_numpy()
            passing = passage(time, rows["_offset"].to_numpy(), self.watermark)
            if self.floor is None:
                self.floor = self.closed = int(time[: passing.rows[1]].min()) // SECOND
            self._revisable.append(passing.offset, passing.newest)
            partials = self._take(rows, passing)
        self.next_offset = next_offset
        return partials

    def idle(self, now: int, clock: Literal["wall", "event"]) -> list[Partial]:
        """Return a note where nothing came for the bound, with rows for what the log has not closed yet.

        The caller knows that the partition has nothing more. By the wall clock the note closes through the
        present second and is made again each second; in event time it is made once in a while.
        """
        if now - self._active_at < IDLE_AFTER_MICROSECONDS:
            return []
        end = now // SECOND * SECOND if clock == "wall" else OPEN_END
        first = self._told if self._told is not None else (self.closed or 0) * SECOND or end
        if first >= end and now - self._told_at < TELL_AGAIN_MICROSECONDS:
            return []
        first = min(first, end)
        rows = self._seconds(first // SECOND, end // SECOND) if self.floor is not None else PARTIAL.empty()
        self._told, self._told_at = end, now
        return [self._partial("idle", first, end, rows)]

    def place(self) -> tuple[int, str] | None:
        """Return the offset from which this stream can be read again, and the note with its floor."""
        if self.next_offset is None:
            return None
        if self.watermark == NO_TIME or self.floor is None:
            return self.next_offset, "" if self.floor is None else str(self.floor)
        final = max(self.floor, int(final_end(np.int64(self.watermark))))
        return self._revisable.first(final - self.hold_secs, self.next_offset), str(final)

    def _close(self, watermark: int, to_offset: int) -> list[Partial]:
        """Move the watermark; return the closings of the seconds that it has passed."""
        self.watermark = watermark
        end = int(closed_end(np.int64(watermark)))
        assert self.closed is not None
        if end <= self.closed:
            return []
        rows = self._seconds(self.closed, end)
        partials = self._split("closing", self.closed * SECOND, end * SECOND, rows, to_offset)
        self.closed = end
        return partials

    def _revise(self, rows: pl.DataFrame, to_offset: int) -> list[Partial]:
        if rows.is_empty():
            return []
        first, last = (int(each.timestamp() * SECOND) for each in ())
        return []

    def _is_too_late(self, second: Int64s, before: Int64s) -> NDArray[np.bool_]:
        return (second < final_end(before)) & (before != NO_TIME)
