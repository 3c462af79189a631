"""GPU readings of one partition: a ring of cells, seconds of racks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.partial import Partial
from schemas.subject import SubjectKind
from streams.cells import TEMPERATURE_BIAS
from streams.closing import LATENESS_SECS, NO_TIME, SECOND, Passage, closed_end, final_end
from streams.gpu_rows import GpuRows
from streams.in_force import InForce
from streams.partial_rows import Nullable, partial_rows
from streams.rack_seconds import RackSeconds
from streams.rings import Rings
from streams.stream import Stream

Int64s = NDArray[np.int64]

RING_SECONDS = 32
INTEGRAL = 3


class GpuStream(Stream[GpuRows]):
    """Keep the latest reading of each GPU in each second and sum it by rack."""

    def __init__(self, topic: str, partition: int, in_force: InForce, *, floor: int | None, now: int) -> None:
        super().__init__(topic, partition, floor=floor, now=now)
        self._rings = Rings(in_force, RING_SECONDS)

    def _seconds(self, first: int, end: int) -> pl.DataFrame:
        return rack_rows(self._rings.close(first, end))

    def _take(self, rows: GpuRows, passing: Passage) -> list[Partial]:
        assert self.floor is not None
        partials: list[Partial] = []
        readings = self._admissible(rows, passing, self.floor)
        for first, end, fits in stretches(passing, self.watermark, self.floor, RING_SECONDS):
            part = readings.of_messages(first, end)
            to_offset = int(passing.messages.offset[end - 1]) + 1
            take = self._take_stretch if fits else self._take_long_message
            partials += take(part, int(passing.after[end - 1]), to_offset)
        return partials

    def _admissible(self, rows: GpuRows, passing: Passage, floor: int) -> _Readings:
        """Leave out what no facility knew in its second and what comes too late; mark what is late."""
        message = passing.by_row(np.arange(len(passing)))
        known = rows.slot >= 0
        if passing.is_on_time(floor):
            return _Readings(message, np.zeros(len(message), np.bool_), rows).where(known)
        late = rows.second < closed_end(passing.before)[message]
        too_late = rows.second < final_end(passing.before)[message]
        # What a restart reads again right below its floor was counted before; what is older was too late then, too.
        lost = known & np.where(rows.second >= floor, too_late, rows.second < floor - LATENESS_SECS)
        self.too_late += int(np.count_nonzero(lost))
        self.late.note(rows.second[lost], rows.second[lost] + 1)
        known &= rows.second >= floor
        return _Readings(message, late, rows).where(known & ~too_late)

    def _take_stretch(self, part: _Readings, watermark: int, to_offset: int) -> list[Partial]:
        """On time, closings, late, revisions: in this order the drain's boundaries leave no trace."""
        self._rings.write(part.where(~part.late).rows)
        self.watermark = watermark
        partials = self._close(closed_end(watermark), to_offset)
        partials += self._apply_late(part.where(part.late).rows, to_offset)
        self._rings.forget(final_end(watermark))
        return partials

    def _take_long_message(self, part: _Readings, watermark: int, to_offset: int) -> list[Partial]:
        """One message spans more than the ring: its late rows first, then block by block of seconds."""
        partials = self._apply_late(part.where(part.late).rows, to_offset)
        part, self.watermark = part.where(~part.late), watermark
        end = closed_end(watermark)
        while len(part.late):
            block = int(part.rows.second.min())
            partials += self._close(min(block, end), to_offset)
            self._rings.write(part.where(part.rows.second < block + RING_SECONDS).rows)
            partials += self._close(min(block + RING_SECONDS, end), to_offset)
            part = part.where(part.rows.second >= block + RING_SECONDS)
        return partials + self._close(end, to_offset)

    def _apply_late(self, late: GpuRows, to_offset: int) -> list[Partial]:
        if not len(late.second):
            return []
        self._rings.write(late)
        return self._revise(rack_rows(self._rings.touched(late.second, late.slot)), to_offset)


class _Readings(NamedTuple):
    """Rows of one drain with the number of each row's message, and whether its second had closed before it."""

    message: Int64s
    late: NDArray[np.bool_]
    rows: GpuRows

    def where(self, chosen: NDArray[np.bool_]) -> _Readings:
        if chosen.all():
            return self
        return _Readings(self.message[chosen], self.late[chosen], self.rows.where(chosen))

    def of_messages(self, first: int, end: int) -> _Readings:
        low, high = (int(each) for each in np.searchsorted(self.message, (first, end)))
        if (low, high) == (0, len(self.message)):
            return self
        return _Readings(self.message[low:high], self.late[low:high], self.rows.part(low, high))


def stretches(passing: Passage, watermark: int, floor: int, seconds: int) -> Iterator[tuple[int, int, bool]]:
    """Split a drain into stretches of messages `[first, end)` whose seconds the ring can hold at once.

    A stretch needs room from what may still be revised at its start to the newest that it brings. A message
    for which that alone is too much is a stretch of its own, and the third of its tuple is False.
    """
    first, newest = 0, np.maximum.accumulate(passing.messages.newest) // SECOND
    while first < len(passing):
        before = watermark if first == 0 else int(passing.after[first - 1])
        if before == NO_TIME:
            horizon = max(floor, min(int(passing.messages.oldest[first]) // SECOND, int(newest[first]) - LATENESS_SECS))
        else:
            horizon = final_end(before)
        end = int(np.searchsorted(newest, horizon + seconds))
        yield first, max(end, first + 1), end > first
        first = max(end, first + 1)


def rack_rows(racks: RackSeconds) -> pl.DataFrame:
    """Return PARTIAL rows of kind RACK; energy is power over the second, since a GPU has one slot a second."""
    power = racks.power_deciwatts * 100
    return partial_rows(
        {
            "second": racks.second * SECOND,
            "subject_kind": np.full(len(power), SubjectKind.RACK),
            "subject": racks.rack,
            "power_milliwatts": Nullable(power, power < 0),
            "power_max_milliwatts": Nullable(racks.power_max_deciwatts * 100, power < 0),
            "silent_nameplate_milliwatts": Nullable(
                racks.silent_nameplate_milliwatts, racks.silent_nameplate_milliwatts < 0
            ),
            "energy_millijoules": Nullable(power, power < 0),
            "energy_method": Nullable(np.full(len(power), INTEGRAL), power < 0),
            "utilization_sum_e4": racks.utilization_sum_e4,
            "utilization_count": racks.utilization_count,
            "temperature_max_decicelsius": Nullable(racks.temperature - TEMPERATURE_BIAS, racks.temperature < 0),
            "expected": racks.expected,
            "reporting": racks.reporting,
            "oldest_age_microseconds": racks.oldest_age_microseconds,
            "readings": racks.readings,
            "digest": racks.digest,
        }
    )
