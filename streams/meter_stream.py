"""Meter readings of one partition: few, so they are kept as a frame and summed the general way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.partial import Partial
from streams.closing import SECOND, Passage, closed_end, final_end
from streams.meter_seconds import READINGS, meter_seconds, readings_of
from streams.stream import Stream

Int64s = NDArray[np.int64]


class MeterStream(Stream[pl.DataFrame]):
    """Keep the readings that may still count and make the seconds of each registered meter."""

    def __init__(self, topic: str, partition: int, intervals: pl.DataFrame, *, floor: int | None, now: int) -> None:
        super().__init__(topic, partition, floor=floor, now=now)
        self._intervals = intervals
        self._kept = pl.DataFrame(schema=READINGS)
        self._hold_secs = 1

    @property
    def hold_secs(self) -> int:
        """Return the longest hold seen, in whole seconds: a restart must read so much more."""
        return self._hold_secs

    def _seconds(self, first: int, end: int) -> pl.DataFrame:
        return meter_seconds(self._kept, first, end)

    def _take(self, rows: pl.DataFrame, passing: Passage) -> list[Partial]:
        before = pl.Series("_before", passing.by_row(passing.before))
        placed = rows.with_columns(before, pl.Series("_message", passing.by_row(np.arange(len(passing)))))
        readings = readings_of(placed, self._intervals, ("_before", "_message"))
        second = readings["time"].to_numpy() // SECOND
        late_for_good = second < final_end(readings["_before"].to_numpy())
        self.too_late += int(np.count_nonzero(late_for_good))
        readings = readings.filter(pl.Series(~late_for_good))
        late = readings["time"].to_numpy() // SECOND < closed_end(readings["_before"].to_numpy())
        partials: list[Partial] = []
        for first, end in _stretches(readings["_message"].to_numpy()[late], len(passing)):
            part = readings.filter(pl.col("_message").is_between(first, end - 1))
            is_late = part["time"].to_numpy() // SECOND < closed_end(part["_before"].to_numpy())
            partials += self._take_stretch(
                part.select(*READINGS),
                part.filter(pl.Series(is_late)),
                int(passing.after[end - 1]),
                int(passing.messages.offset[end - 1]) + 1,
            )
        return partials

    def _take_stretch(
        self, readings: pl.DataFrame, late: pl.DataFrame, watermark: int, to_offset: int
    ) -> list[Partial]:
        """Late rows count in every closing after them, so a stretch begins with them and then closes."""
        closed = self.closed
        self._kept = pl.concat([self._kept, readings])
        if len(readings):
            longest = -(-int(readings["hold"].max()) // SECOND)  # type: ignore[arg-type]
            self._hold_secs = max(self._hold_secs, longest)
        self.watermark = watermark
        partials = self._close(closed_end(watermark), to_offset)
        if len(late) and closed is not None:
            partials += self._revise(self._touched(late, closed), to_offset)
        oldest = final_end(watermark) - self._hold_secs
        self._kept = self._kept.filter(pl.col("time") >= oldest * SECOND)
        return partials

    def _touched(self, late: pl.DataFrame, closed: int) -> pl.DataFrame:
        """Return the closed seconds that late readings reach into, as they stand now."""
        reach = late.group_by(pl.col("meter").alias("subject")).agg(
            (pl.col("time").min() // SECOND).alias("low"),
            ((pl.col("time") + pl.col("hold")).max() // SECOND + 2).clip(upper_bound=closed).alias("high"),
        )
        first = max(int(reach["low"].min()), int(self.floor or 0))  # type: ignore[arg-type]
        of_these = self._kept.join(late.select("meter").unique(), on="meter", how="semi")
        rows = meter_seconds(of_these, first, closed)
        second = pl.col("second").cast(pl.Int64) // SECOND
        inside = rows.join(reach, on="subject", how="left", maintain_order="left").filter(
            second.is_between("low", "high", closed="left")
        )
        return inside.select(rows.columns)


def _stretches(late_messages: Int64s, count: int) -> Iterator[tuple[int, int]]:
    """Split messages `[0, count)` before each one that brings late rows."""
    bounds = np.unique(np.concatenate(([0], late_messages, [count])))
    return zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
