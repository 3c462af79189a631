"""One stream: a partition of one topic with its watermark, what it has closed, and where to read it again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Literal, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.partial import OPEN_END, PARTIAL, Envelope, Kind, Partial
from schemas.rejection import ADMISSION_VERSION
from streams.closing import GRACE_MICROSECONDS, LATENESS_SECS, NO_TIME, SECOND, Messages, Passage, Revisable, final_end
from streams.late_spans import LateSpans

Int64s = NDArray[np.int64]

IDLE_AFTER_MICROSECONDS = 2_000_000
TELL_AGAIN_MICROSECONDS = 30_000_000
ROWS_A_PARTIAL = 8_000
"""About 900 kB of Arrow: below every client's default limit of a message."""


R = TypeVar("R")
"""The admitted rows of one partition in log order, as its stream wants them."""


class Stream(ABC, Generic[R]):
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
        self.late, self.lost = LateSpans(), LateSpans()
        self.next_offset: int | None = None
        self._from_offset: int | None = None
        self._revisable = Revisable()
        self._active_at = now
        self._told: int | None = None
        self._told_at = NO_TIME
        self._lost_from: int | None = None

    @abstractmethod
    def _take(self, rows: R, passing: Passage) -> list[Partial]:
        """Apply rows; return closings and revisions in the order in which they must be sent."""

    @abstractmethod
    def _seconds(self, first: int, end: int) -> pl.DataFrame:
        """Return PARTIAL rows of the seconds `[first, end)` as they stand now."""

    @property
    def hold_secs(self) -> int:
        """Return how many seconds before a window its readings may lie."""
        return 0

    @property
    def grain_secs(self) -> int:
        """Return which whole seconds are read again together: those of a piece, where pieces are told."""
        return 1

    def _before(self, first: int, end: int, to_offset: int) -> list[Partial]:
        """Return what must be told before the seconds `[first, end)` close."""
        return []

    @property
    def open_seconds(self) -> int:
        """Return how many seconds began and did not close yet; a log that goes on no longer leaves its last ones."""
        return 0 if self.closed is None else max(0, self.watermark // SECOND + 1 - self.closed)

    def feed(self, rows: R, messages: Messages, next_offset: int, now: int) -> list[Partial]:
        """Take admitted rows, the messages that brought any, and the offset after the last of all messages.

        Messages without a row that counts leave a partition as idle as it was.
        """
        if len(messages.offset):
            self._active_at, self._told = now, None
        if self._from_offset is None:
            self._from_offset = int(messages.offset[0]) if len(messages.offset) else next_offset
        partials: list[Partial] = []
        if len(messages.offset):
            if self.floor is None:
                self.floor = self.closed = int(messages.oldest[0]) // SECOND
                self._note_lost(self.floor + LATENESS_SECS)
            self._revisable.append(messages.offset, messages.newest)
            partials = self._take(rows, Passage.of(messages, self.watermark))
        self.next_offset = next_offset
        return partials

    @property
    def closes_in(self) -> int:
        """Return by how many µs the watermark must move on for the next second to close; 0 where nothing came yet."""
        if self.closed is None or self.watermark == NO_TIME:
            return 0
        return (self.closed + 1) * SECOND + GRACE_MICROSECONDS - self.watermark

    def idle(self, now: int, clock: Literal["wall", "event"]) -> list[Partial]:
        """Return a note where nothing came for the bound, with rows for what the log has not closed yet.

        The caller knows that the partition has nothing more. By the wall clock the note closes through the
        present second and is made again each second; in event time it is made once in a while.
        """
        if now - self._active_at < IDLE_AFTER_MICROSECONDS:
            return []
        end = now // SECOND if clock == "wall" else OPEN_END // SECOND
        if self._told == end and now - self._told_at < TELL_AGAIN_MICROSECONDS:
            return []
        known = [each for each in (self.closed, self._told) if each is not None]
        first = min(end, max(known, default=end))
        rows = self._seconds(first, end) if self.closed is not None else PARTIAL.empty()
        self._told, self._told_at = end, now
        to_offset = self.next_offset or 0
        return self._before(first, end, to_offset) + self._split("idle", first, end, rows, to_offset)

    def lost_after(self, before: Stream[R]) -> None:
        """Know that messages are gone between what `before` took of the same partition and the first of this."""
        self._lost_from = before.final

    def _note_lost(self, end: int) -> None:
        """Note the seconds that what is gone may have belonged to or held into: they are told without it, or not."""
        if self._lost_from is not None and self._lost_from < end:
            self.lost.note(np.array([self._lost_from]), np.array([end]))

    @property
    def is_asking(self) -> bool:
        """Tell whether something is to be recomputed that was not asked for yet."""
        return bool(self.late or self.lost)

    @property
    def final(self) -> int | None:
        """Return the end of the seconds that nothing can change any more; None where nothing was told."""
        if self.floor is None or self.watermark == NO_TIME:
            return self.floor
        return max(self.floor, final_end(self.watermark) // self.grain_secs * self.grain_secs)

    def place(self) -> tuple[int, str] | None:
        """Return the offset from which this stream can be read again, and the note with its floor."""
        if self.next_offset is None:
            return None
        final = self.final
        if self.watermark == NO_TIME or final is None:
            return self.next_offset, "" if final is None else str(final)
        return self._revisable.first(final - self.hold_secs, self.next_offset), str(final)

    def _close(self, end: int, to_offset: int) -> list[Partial]:
        """Return the closings of the seconds below `end` that are not closed yet."""
        assert self.closed is not None
        if end <= self.closed:
            return []
        partials = self._before(self.closed, end, to_offset)
        partials += self._split("closing", self.closed, end, self._seconds(self.closed, end), to_offset)
        self.closed, self._from_offset = end, to_offset
        return partials

    def _revise(self, rows: pl.DataFrame, to_offset: int) -> list[Partial]:
        """Return revisions of closed seconds; `rows` as they stand now, ordered by second."""
        if rows.is_empty():
            return []
        seconds = _seconds_of(rows)
        return self._split("revision", int(seconds[0]), int(seconds[-1]) + 1, rows, to_offset)

    def _split(self, kind: Kind, first: int, end: int, rows: pl.DataFrame, to_offset: int) -> list[Partial]:
        """Return partials that cover `[first, end)` without a gap, each of at most ROWS_A_PARTIAL rows or a second."""
        seconds = _seconds_of(rows)
        starts, bounds = [0], [first]
        while len(seconds) - starts[-1] > ROWS_A_PARTIAL:
            cut = int(np.searchsorted(seconds, seconds[starts[-1] + ROWS_A_PARTIAL]))
            if cut == starts[-1]:
                cut = int(np.searchsorted(seconds, seconds[cut], side="right"))
            if cut == len(seconds):
                break
            starts.append(cut)
            bounds.append(int(seconds[cut]))
        ends = [*starts[1:], len(seconds)]
        return [
            Partial(self._envelope(kind, low, high, to_offset), rows[start:stop])
            for start, stop, low, high in zip(starts, ends, bounds, [*bounds[1:], end], strict=True)
        ]

    def _envelope(self, kind: Kind, first: int, end: int, to_offset: int) -> Envelope:
        return Envelope(
            topic=self.topic,
            partition=self.partition,
            from_offset=self._from_offset or 0,
            to_offset=to_offset,
            kind=kind,
            first_second=first * SECOND,
            end_second=end * SECOND,
            watermark=0 if self.watermark == NO_TIME else self.watermark,
            admission=ADMISSION_VERSION,
        )


def _seconds_of(rows: pl.DataFrame) -> Int64s:
    return rows["second"].to_numpy().view(np.int64) // SECOND
