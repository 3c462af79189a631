"""Meter readings of one partition: kept for as long as they may count, and summed by second."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.partial import Partial
from streams.closing import NO_TIME, SECOND, Passage, closed_end, final_end
from streams.in_force import InForce
from streams.lists import begins
from streams.meter_log import NULL, MeterLog
from streams.meter_readings import MeterReadings
from streams.meter_seconds import meter_seconds
from streams.stream import Stream

Int64s = NDArray[np.int64]


class MeterStream(Stream[MeterLog]):
    """Keep the readings that may still count and make the seconds of each registered meter."""

    def __init__(self, topic: str, partition: int, in_force: InForce, *, floor: int | None, now: int) -> None:
        super().__init__(topic, partition, floor=floor, now=now)
        self._in_force = in_force
        self._kept = MeterReadings._make(np.empty((len(MeterReadings._fields), 0), np.int64))
        self._hold_secs = 1

    @property
    def hold_secs(self) -> int:
        """Return the longest hold seen, in whole seconds: a restart must read so much more."""
        return self._hold_secs

    def _seconds(self, first: int, end: int) -> pl.DataFrame:
        return self._seconds_of(self._kept, first, end)

    def _take(self, rows: MeterLog, passing: Passage) -> list[Partial]:
        """Take the rows of the messages; those without a hold are of meters not registered then."""
        known = rows.hold != NULL
        if passing.is_on_time(NO_TIME):
            return self._take_stretch(rows.where(known), rows.part(0, 0), passing, len(passing))
        second, message = rows.time // SECOND, passing.by_row(np.arange(len(passing)))
        too_late = known & (second < final_end(passing.before)[message])
        self.too_late += int(np.count_nonzero(too_late))
        if too_late.any():
            # They bear on every second into which they hold, or in which they end what another one held.
            holds = max(self._hold_secs, _whole_seconds(rows.hold))
            self.late.note(second[too_late], second[too_late] + holds + 2)
        kept = known & ~too_late
        closed = closed_end(passing.before)
        late = kept & (second < closed[message])
        partials: list[Partial] = []
        for first, end in _stretches(message[late], closed, len(passing)):
            inside = (message >= first) & (message < end)
            partials += self._take_stretch(rows.pick(kept & inside), rows.pick(late & inside), passing, end)
        return partials

    def _take_stretch(self, part: MeterLog, late: MeterLog, passing: Passage, end: int) -> list[Partial]:
        """Late rows count in every closing after them, so a stretch begins with them and then closes.

        What they revise is told first: of what closes after a gap the evaluator knows that the time before is over.
        """
        watermark = int(passing.after[end - 1])
        to_offset = int(passing.messages.offset[end - 1]) + 1
        self._kept = self._kept.then(MeterReadings.of(part))
        self._hold_secs = max(self._hold_secs, _whole_seconds(part.hold))
        self.watermark = watermark
        partials = []
        if len(late.time) and self.closed is not None:
            partials += self._revise(self._touched(late, self.closed), to_offset)
        partials += self._close(closed_end(watermark), to_offset)
        if partials:
            oldest = final_end(watermark) - self._hold_secs
            self._kept = self._kept.pick(self._kept.time >= oldest * SECOND)
        return partials

    def _seconds_of(self, readings: MeterReadings, first: int, end: int) -> pl.DataFrame:
        """Return PARTIAL rows of the meters that there are in each second: one that left holds no longer."""
        reaching = self._in_force.between(first - self._hold_secs - 1, end)
        if len(reaching) == 1:
            return meter_seconds(readings, first, end, reaching[0].gains)
        parts = [
            meter_seconds(
                readings.pick(standing.intervals.of(readings.meter) > 0),
                max(first, standing.first),
                min(end, standing.end),
                standing.gains,
            )
            for standing in self._in_force.between(first, end)
        ]
        return pl.concat(parts)

    def _touched(self, late: MeterLog, closed: int) -> pl.DataFrame:
        """Return the closed seconds that late readings reach into, as they stand now."""
        came = MeterReadings.of(late)
        of_these = self._kept.pick(np.isin(self._kept.meter, came.meter))
        heads = np.flatnonzero(begins(came.meter))
        low = came.time[heads] // SECOND
        high = np.minimum(np.maximum.reduceat(_until(of_these, came), heads) // SECOND + 2, closed)
        rows = self._seconds_of(of_these, max(int(low.min()), int(self.floor or 0)), closed)
        subject, second = rows["subject"].to_numpy(), rows["second"].cast(pl.Int64).to_numpy() // SECOND
        of = np.searchsorted(came.meter[heads], subject)
        return rows.filter(pl.Series((second >= low[of]) & (second < high[of])))


def _until(kept: MeterReadings, came: MeterReadings) -> Int64s:
    """Return until when each reading that came can matter among all that is kept of the same meters."""
    meters = np.unique(kept.meter)
    base = int(kept.time.min())
    width = int(kept.time.max()) - base + 1
    key, wanted = (np.searchsorted(meters, each.meter) * width + each.time - base for each in (kept, came))
    found: Int64s = kept.until[np.searchsorted(key, wanted, side="right") - 1]
    return found


def _stretches(late_messages: Int64s, closed: Int64s, count: int) -> Iterator[tuple[int, int]]:
    """Split messages `[0, count)` before the first late one after each closing; `closed` is the end before each.

    Of several with no closing between them every closing that follows has all, so they are told as one: a source
    whose clock is behind has no message that is not late.
    """
    late = np.unique(late_messages)
    heads = late[begins(closed[late])]
    bounds = np.unique(np.concatenate(([0], heads, [count])))
    return zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)


def _whole_seconds(hold: Int64s) -> int:
    """Return the longest hold in whole seconds, rounded up."""
    return -(-int(hold.max(initial=0)) // SECOND)
