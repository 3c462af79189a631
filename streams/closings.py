"""Which seconds of the sites are closed, from the log of partials alone.

A second is closed when every stream (a partition of a telemetry topic) has closed it, by a closing or by
an idle note; of what a stream says of a second the first in the log wins and is what alerts are judged
by. All that comes later about it is a revision: it changes windows. An idle note without a clock leaves
its stream open: it bounds nothing until its next closing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.partial import OPEN_END, PARTIAL, Envelope
from streams.closing import LATENESS_SECS, STRETCH_SECS
from streams.late_spans import LateSpans
from streams.lists import begins
from streams.minutes import MINUTE
from streams.sums import SECOND

Stream = tuple[str, int]
NOTHING = -(1 << 60)
HORIZON = (LATENESS_SECS + STRETCH_SECS) * SECOND
"""How long after its closing a second is kept for revisions; readings are late for good after LATENESS_SECS."""
PIECES = ("piece", "histogram")
"""Kinds of messages that close no second; streams/devices.py keeps them."""

ROWS = PARTIAL.polars | {"stream": pl.Int64, "admission": pl.Int64}
_KEY = ["second", "stream", "subject_kind", "subject"]
_RANK = pl.col("admission") * (1 << 40) + pl.col("readings")
"""The greater is right: what a later admission made, however few readings it admits; else the fuller."""


class Bound(NamedTuple):
    """Say how far a stream is closed: by its log, by idle notes, and whether it is open; UTC µs."""

    closed: int = NOTHING
    told: int = NOTHING
    is_open: bool = False

    @property
    def end(self) -> int:
        """Return the end of the seconds that this stream holds up no longer."""
        return OPEN_END if self.is_open else max(self.closed, self.told)

    def closed_through(self, told_through: int) -> Bound:
        """Return the bound of a stream that closed all before `told_through`, or only ever was idle."""
        was_idle = self.closed == NOTHING and self != Bound()
        return self if was_idle else self._replace(closed=max(self.closed, told_through))


class Closed(NamedTuple):
    """Hold the seconds `[first_second, end_second)` of all sites, closed together; rows by second and stream.

    `rows`: PARTIAL's columns and `stream`; a second without rows is one in which no source said anything.
    `missing`: the streams that closed by an idle note.
    """

    first_second: int
    end_second: int
    rows: pl.DataFrame
    missing: tuple[Stream, ...]

    def within(self, start: int, end: int) -> Closed:
        """Return those of the seconds that begin in `[start, end)`."""
        if start <= self.first_second and self.end_second <= end:
            return self
        second = pl.col("second").cast(pl.Int64)
        rows = self.rows.filter(second.is_between(start, end, closed="left"))
        return Closed(max(start, self.first_second), min(end, self.end_second), rows, self.missing)


class Resume(NamedTuple):
    """Say from where the log must be read again so that no kept second lacks a row."""

    offset: int
    kept_from: int
    bounds: dict[Stream, Bound]


class _Entry(NamedTuple):
    offset: int
    stream: Stream
    before: Bound
    newest: int


class Closings:
    """Keep what streams said of seconds. `streams` are all that there are; nobody else changes the state.

    `evaluated` is the end of the seconds that are closed for all; given at the start, what lies before it is
    not kept.
    """

    def __init__(
        self,
        streams: Iterable[Stream],
        *,
        bounds: Mapping[Stream, Bound] = {},
        evaluated: int = NOTHING,
        next_offset: int = 0,
    ) -> None:
        self._number = {stream: number for number, stream in enumerate(sorted(streams))}
        self._bounds = {stream: bounds.get(stream, Bound()) for stream in self._number}
        self._first: dict[int, list[pl.DataFrame]] = {}
        self._later: dict[int, list[pl.DataFrame]] = {}
        self._revised: set[int] = set()
        self._entries: deque[_Entry] = deque()
        self._next_offset = next_offset
        self._floor = self.evaluated = self._reached = evaluated
        self._passed = NOTHING
        self._pieces_through = evaluated - SECOND
        self.too_late = 0
        self.late, self.lost, self.conflicts = LateSpans(), LateSpans(), LateSpans()
        self.newest: tuple[Stream, int] | None = None

    @property
    def kept_from(self) -> int:
        """Return the start of the oldest second that is kept: that of the oldest minute still open to revisions."""
        return self._kept_at(self.evaluated)

    def going_on_at(self, offset: int, told_through: int) -> Closings:
        """Return closings that go on with the bounds of these where the log lost what came before `offset`.

        What is gone may have revised what is told, or what comes may: nobody knows what that was told of. What it
        closed beyond shows where a stream goes on (`_note_hole`): whatever was told, every stream had closed.
        """
        bounds = {stream: bound.closed_through(told_through) for stream, bound in self._bounds.items()}
        after = Closings(self._number, bounds=bounds, evaluated=self.evaluated, next_offset=offset)
        after.too_late, after.newest = self.too_late, self.newest
        after.late, after.lost, after.conflicts = self.late, self.lost, self.conflicts
        if told_through != NOTHING:
            after.lost.note(*_stretch((told_through - HORIZON) // MINUTE * MINUTE, told_through))
        return after

    def take(self, offset: int, envelope: Envelope, rows: pl.DataFrame) -> None:
        """Take one message of `windows.rack.v1` in log order; a stream that is not ours is passed over."""
        stream = (envelope.topic, envelope.partition)
        if stream not in self._number:
            return
        self.newest = (stream, envelope.to_offset)
        bound = self._bounds[stream]
        if envelope.kind in PIECES:
            # A minute needs the counters of the one before.
            self._entries.append(_Entry(offset, stream, bound, envelope.first_second // MINUTE * MINUTE + MINUTE))
            self._next_offset = offset + 1
            return
        number, admission = np.full((2, len(rows)), [[self._number[stream]], [envelope.admission]])
        numbered = rows.hstack([pl.Series("stream", number), pl.Series("admission", admission)])
        self._note_hole(envelope, bound)
        newest = self._keep(envelope, bound, numbered)
        self._bounds[stream] = _moved(bound, envelope)
        self._passed = max(self._passed, self._end())
        self._pieces_through = max(self._pieces_through, self._end_of_pieces())
        self._reached = max(self._reached, self._passed)
        self._entries.append(_Entry(offset, stream, bound, newest))
        self._next_offset = offset + 1

    def pass_by(self, offset: int, newest: int) -> None:
        """Take note of a message that closes nothing, and of the newest second of which it says something."""
        stream = next(iter(self._bounds))
        self._entries.append(_Entry(offset, stream, self._bounds[stream], newest))
        self._next_offset = offset + 1

    @property
    def open_seconds(self) -> int:
        """Return how many seconds are held that some stream said something of and that are not closed for all."""
        return sum(second >= self.evaluated for second in self._first)

    @property
    def reached(self) -> int:
        """Return the end of the seconds that all streams had closed at this place of the log."""
        return self._reached

    @property
    def pieces_through(self) -> int:
        """Return the end of the seconds all pieces of which were told at this place of the log.

        A stream tells a piece before it closes the second after it, or before it says that it bounds nothing.
        """
        return self._pieces_through

    @property
    def open_from(self) -> int:
        """Return the start of the oldest minute that a message at this place of the log may still change.

        After a restart that is, too, as it was there, though nothing is told of what lies before `kept_from`.
        """
        return NOTHING if self._passed == NOTHING else (self._passed - HORIZON) // MINUTE * MINUTE

    @property
    def is_behind(self) -> bool:
        """Tell whether there are closed seconds that `close` has not returned yet."""
        return self._reached > self.evaluated

    def is_behind_by(self, seconds: int) -> bool:
        """Tell whether `close` has so many seconds with rows to return, or more."""
        return self.is_behind and sum(self.evaluated <= each < self._reached for each in self._first) >= seconds

    def close(self, at_most: int | None = None) -> Closed | None:
        """Return the seconds that have become closed since the last call, None where there are none.

        `at_most` bounds how many seconds with rows one call returns: after an outage, or in a replay, hours
        close at once.
        """
        end = self._reached
        if end <= self.evaluated:
            return None
        seconds = sorted(second for second in self._first if self.evaluated <= second < end)
        if at_most is not None and len(seconds) > at_most:
            end, seconds = seconds[at_most], seconds[:at_most]
        begin = self.evaluated if self.evaluated != NOTHING else (seconds[0] if seconds else end)
        missing = tuple(stream for stream, bound in self._bounds.items() if bound.is_open or bound.told > bound.closed)
        closed = Closed(begin, end, _joined(frame for second in seconds for frame in self._first[second]), missing)
        # Of a second in which all came late there is no closing, only what is said of it now.
        self._revised.update(second for second in self._later if self.evaluated <= second < end)
        self.evaluated = end
        return closed

    def revised(self) -> pl.DataFrame:
        """Return all rows, the fullest of each source, of the closed seconds that were revised since the last call.

        Not the last in the log: a worker that was restarted, or one of a second group, tells earlier versions again.
        Called after `close`; then what can be revised no more is forgotten. Where two are as full and differ, each
        was made of readings that the other lacks: a conflict.
        """
        seconds = sorted(second for second in self._revised if second < self.evaluated)
        self._revised.clear()
        if not seconds:
            self._forget()
            return pl.DataFrame(schema=ROWS)
        rows = _joined(
            frame for second in seconds for frame in [*self._first.get(second, ()), *self._later.get(second, ())]
        )
        self._forget()
        fullest = rows.filter(_RANK.max().over(_KEY) == _RANK)
        differing = fullest.filter(pl.col("digest").n_unique().over(_KEY) > 1)
        self.conflicts.note(*_spans(differing["second"]))
        return fullest.unique(_KEY, keep="last", maintain_order=True)

    def resume(self) -> Resume:
        """Return where to read again after a restart, with the bounds as they were there."""
        while self._entries and self._entries[0].newest < self.kept_from:
            self._entries.popleft()
        bounds = dict(self._bounds)
        for entry in reversed(self._entries):
            bounds[entry.stream] = entry.before
        offset = self._entries[0].offset if self._entries else self._next_offset
        return Resume(offset, self.kept_from, bounds)

    def _keep(self, envelope: Envelope, bound: Bound, rows: pl.DataFrame) -> int:
        """Put rows where they belong; return the newest second among those that were put anywhere."""
        # What is late is judged at the message's place in the log, so that drains change nothing.
        newest, kept_from = NOTHING, self._kept_at(self._reached)
        for second, said in _by_second(rows):
            frame = said
            if second < kept_from:
                # After a restart what lies beside the pieces of an older minute is read again: that was in time.
                if second < self.open_from and (envelope.kind == "revision" or second >= bound.closed):
                    self.too_late += len(frame)
                    self.late.note(*_spans(frame["second"]))
                continue
            if envelope.kind != "revision" and second < bound.closed:
                # A restarted worker says again what it has said; one that knows other readings does not.
                frame = self._not_said(second, frame)
                if frame.is_empty():
                    continue
            newest = max(newest, second)
            is_first = envelope.kind != "revision" and second >= max(self._reached, bound.told, bound.closed)
            (self._first if is_first else self._later).setdefault(second, []).append(frame)
            if not is_first and second < self.evaluated:
                self._revised.add(second)
        return newest

    def _note_hole(self, envelope: Envelope, bound: Bound) -> None:
        """Note the seconds between closings that do not meet: a stream goes on where it ended, so one is gone."""
        if envelope.kind == "closing" and NOTHING != bound.closed < envelope.first_second:
            self.lost.note(*_stretch(bound.closed, envelope.first_second))

    def _not_said(self, second: int, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a second that closed before which were not said then and are no poorer than those."""
        kept = [*self._first.get(second, ()), *self._later.get(second, ())]
        if any(_is_same(frame, each) for each in kept):
            return frame.clear()
        standing = _joined(kept).filter(pl.col("stream") == frame["stream"][0])
        fullest = standing.group_by(_KEY).agg(fullest=_RANK.max())
        new = frame.join(standing, on=[*_KEY, "admission", "readings", "digest"], how="anti", maintain_order="left")
        poorer = new.join(fullest, on=_KEY, how="left", maintain_order="left")
        return poorer.filter(pl.col("fullest").fill_null(0) <= _RANK).drop("fullest")

    def _end(self) -> int:
        end = min((bound.end for bound in self._bounds.values()), default=NOTHING)
        return end if end < OPEN_END else max(self._first, default=NOTHING - SECOND) + SECOND

    def _end_of_pieces(self) -> int:
        is_open = all(bound.is_open for bound in self._bounds.values())
        return self._end() if is_open else self._end() - SECOND

    def _kept_at(self, evaluated: int) -> int:
        return NOTHING if evaluated == NOTHING else max(self._floor, (evaluated - HORIZON) // MINUTE * MINUTE)

    def _forget(self) -> None:
        for kept in (self._first, self._later):
            for second in [second for second in kept if second < self.kept_from]:
                del kept[second]


def _moved(bound: Bound, envelope: Envelope) -> Bound:
    if envelope.kind == "revision":
        return bound
    if envelope.kind == "closing":
        return Bound(max(bound.closed, envelope.end_second), bound.told, False)
    if envelope.end_second >= OPEN_END:
        return bound._replace(is_open=True)
    return bound._replace(told=max(bound.told, envelope.end_second))


def _by_second(rows: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield the rows of each second; a partial has them in that order, so they are slices."""
    seconds = rows["second"].cast(pl.Int64).to_numpy()
    if (seconds[1:] < seconds[:-1]).any():
        rows = rows.sort("second", maintain_order=True)
        seconds = rows["second"].cast(pl.Int64).to_numpy()
    starts = np.flatnonzero(begins(seconds)).tolist()
    for start, end in pairwise([*starts, len(seconds)]):
        yield int(seconds[start]), rows[start:end]


def _stretch(first: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the stretch `[first, end)`, UTC µs, in whole seconds."""
    return np.array([first // SECOND]), np.array([end // SECOND])


def _is_same(frame: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Tell whether two frames of one second say the same, row by row."""
    names = ("stream", "subject_kind", "subject", "admission", "readings", "digest")
    return len(frame) == len(other) and all((frame[name] == other[name]).all() for name in names)


def _spans(seconds: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the stretches of distinct seconds, in whole seconds."""
    first = seconds.cast(pl.Int64).unique().to_numpy() // SECOND
    return first, first + 1


def _joined(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=ROWS), *frames], rechunk=True)
