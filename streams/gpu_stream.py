"""GPU readings of one partition: a ring of cells, seconds of racks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.partial import PARTIAL, Partial
from schemas.subject import SubjectKind
from streams.closing import LATENESS_SECS, NO_TIME, SECOND, Passage, closed_end, final_end
from streams.gpu_slots import GpuSlots
from streams.ring import TEMPERATURE_BIAS, Cells, RackSeconds, Ring, cells_of
from streams.stream import Stream

Int64s = NDArray[np.int64]

RING_SECONDS = 32
INTEGRAL = 3


class GpuRows(NamedTuple):
    """Admitted GPU rows as arrays, in log order; `slot` −1 = the registry has no such GPU."""

    time: Int64s
    offset: Int64s
    rack: Int64s
    slot: Int64s
    cells: Cells

    @classmethod
    def of(cls, rows: pl.DataFrame, slots: GpuSlots) -> GpuRows:
        """Convert a frame once for all partitions: polars' cost is per call, not per row."""
        warmth = (pl.col("temperature_celsius") * 10).round() + TEMPERATURE_BIAS
        columns = rows.select(
            pl.col("time").cast(pl.Int64),
            "_offset",
            "rack",
            "node",
            "gpu",
            pl.col("power_deciwatts").fill_null(-1),
            pl.col("utilization_e4").fill_null(-1),
            warmth.fill_null(-1).cast(pl.Int32).alias("warmth"),
        )
        time, offset, rack, node, gpu, *values = (column.to_numpy() for column in columns)
        return cls(time, offset, rack.astype(np.int64), slots.find(rack, node, gpu), cells_of(time, *values))

    def part(self, start: int, end: int) -> GpuRows:
        """Return rows `[start, end)`."""
        return GpuRows._make(column[start:end] for column in self)


class GpuStream(Stream[GpuRows]):
    """Keep the latest reading of each GPU in each second and sum it by rack."""

    def __init__(self, topic: str, partition: int, slots: GpuSlots, *, floor: int | None, now: int) -> None:
        super().__init__(topic, partition, floor=floor, now=now)
        self._ring = Ring(slots, RING_SECONDS)

    def _seconds(self, first: int, end: int) -> pl.DataFrame:
        return rack_rows(self._ring.close(first, end))

    def _take(self, rows: GpuRows, passing: Passage) -> list[Partial]:
        assert self.floor is not None
        readings = _Readings.of(rows, passing)
        known = (readings.slot >= 0) & (readings.second >= self.floor)
        too_late = readings.second < final_end(readings.before)
        self.too_late += int(np.count_nonzero(known & too_late))
        readings = readings.where(known & ~too_late)
        partials: list[Partial] = []
        for first, end, fits in stretches(passing, self.watermark, self.floor, RING_SECONDS):
            part = readings.of_messages(first, end)
            to_offset = int(passing.offset[end - 1]) + 1
            take = self._take_stretch if fits else self._take_long_message
            partials += take(part, int(passing.after[end - 1]), to_offset)
        return partials

    def _take_stretch(self, part: _Readings, watermark: int, to_offset: int) -> list[Partial]:
        """On time, closings, late, revisions: in this order the drain's boundaries leave no trace."""
        late = part.second < closed_end(part.before)
        self._write(part.where(~late))
        self.watermark = watermark
        partials = self._close(closed_end(watermark), to_offset)
        return partials + self._apply_late(part.where(late), to_offset)

    def _take_long_message(self, part: _Readings, watermark: int, to_offset: int) -> list[Partial]:
        """One message spans more than the ring: its late rows first, then block by block of seconds."""
        late = part.second < closed_end(part.before)
        partials = self._apply_late(part.where(late), to_offset)
        part, self.watermark = part.where(~late), watermark
        end = closed_end(watermark)
        while len(part.second):
            block = int(part.second.min())
            partials += self._close(min(block, end), to_offset)
            self._write(part.where(part.second < block + RING_SECONDS))
            partials += self._close(min(block + RING_SECONDS, end), to_offset)
            part = part.where(part.second >= block + RING_SECONDS)
        return partials + self._close(end, to_offset)

    def _apply_late(self, late: _Readings, to_offset: int) -> list[Partial]:
        if not len(late.second):
            return []
        self._write(late)
        return self._revise(rack_rows(self._ring.touched(late.second, late.rack)), to_offset)

    def _write(self, readings: _Readings) -> None:
        self._ring.write(readings.second, readings.rack, readings.slot, readings.cells)


class _Readings(NamedTuple):
    """Rows of one drain as arrays; `message` is the number of each row's message, `before` its watermark."""

    second: Int64s
    before: Int64s
    message: Int64s
    rack: Int64s
    slot: Int64s
    cells: Cells

    @classmethod
    def of(cls, rows: GpuRows, passing: Passage) -> _Readings:
        message = passing.by_row(np.arange(len(passing)))
        return cls(rows.time // SECOND, passing.before[message], message, rows.rack, rows.slot, rows.cells)

    def where(self, chosen: NDArray[np.bool_]) -> _Readings:
        return self if chosen.all() else _Readings._make(column[chosen] for column in self)

    def of_messages(self, first: int, end: int) -> _Readings:
        low, high = np.searchsorted(self.message, (first, end))
        return self if (low, high) == (0, len(self.message)) else _Readings._make(column[low:high] for column in self)


def stretches(passing: Passage, watermark: int, floor: int, seconds: int) -> Iterator[tuple[int, int, bool]]:
    """Split a drain into stretches of messages `[first, end)` whose seconds the ring can hold at once.

    A stretch needs room from what may still be revised at its start to the newest that it brings. A message
    for which that alone is too much is a stretch of its own, and the third of its tuple is False.
    """
    first, newest = 0, np.maximum.accumulate(passing.newest) // SECOND
    while first < len(passing):
        before = watermark if first == 0 else int(passing.after[first - 1])
        if before == NO_TIME:
            horizon = max(floor, min(int(passing.oldest[first]) // SECOND, int(newest[first]) - LATENESS_SECS))
        else:
            horizon = final_end(before)
        end = int(np.searchsorted(newest, horizon + seconds))
        yield first, max(end, first + 1), end > first
        first = max(end, first + 1)


def rack_rows(racks: RackSeconds) -> pl.DataFrame:
    """Return PARTIAL rows of kind RACK; energy is power over the second, since a GPU has one slot a second."""
    power = _nullable(racks.power_deciwatts)
    columns = {
        "second": pl.Series(racks.second * SECOND).cast(pl.Datetime("us")),
        "subject_kind": np.full(len(racks.second), SubjectKind.RACK, np.int8),
        "subject": racks.rack,
        "power_milliwatts": power * 100,
        "power_max_milliwatts": _nullable(racks.power_max_deciwatts) * 100,
        "silent_nameplate_milliwatts": _nullable(racks.silent_nameplate_milliwatts),
        "current_square_microseconds": None,
        "energy_millijoules": power * 100,
        "energy_method": (power >= 0).replace_strict({True: INTEGRAL, False: None}, return_dtype=pl.Int8),
        "utilization_sum_e4": pl.Series(racks.utilization_sum_e4),
        "utilization_count": racks.utilization_count,
        "temperature_max_decicelsius": _nullable(racks.temperature) - TEMPERATURE_BIAS,
        "expected": racks.expected,
        "reporting": racks.reporting,
        "oldest_age_microseconds": racks.oldest_age_microseconds,
        "readings": racks.readings,
        "digest": racks.digest,
    }
    return pl.DataFrame(columns).cast(PARTIAL.polars)  # type: ignore[arg-type]


def _nullable(values: Int64s) -> pl.Series:
    series = pl.Series(values)
    return series.set(series < 0, None)
