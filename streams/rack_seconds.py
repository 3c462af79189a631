"""Seconds of racks: the sums of the cells of each rack's GPUs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.cells import SECOND, Cells, Int32s, Int64s, Words
from streams.digest import SPREAD, WORD, mixed, summed
from streams.gpu_rows import GpuRows
from streams.gpu_slots import GpuSlots

HALF = 1 << 32


class RackSeconds(NamedTuple):
    """Rows of (second, rack) that reported, ordered by them; −1 = null where a column may be null."""

    second: Int64s
    rack: Int64s
    power_deciwatts: Int64s
    power_max_deciwatts: Int64s
    silent_nameplate_milliwatts: Int64s
    utilization_sum_e4: Int64s
    utilization_count: Int64s
    temperature: Int64s
    expected: Int64s
    reporting: Int64s
    oldest_age_microseconds: Int64s
    readings: Int64s
    digest: Int64s

    @classmethod
    def nothing(cls) -> RackSeconds:
        """Return no rows."""
        return cls(*(np.empty(0, np.int64) for _ in cls._fields))


class Layout(NamedTuple):
    """Where the GPUs of each rack stand among columns, and their slots."""

    racks: Int64s
    starts: Int64s
    slots: Int64s

    @classmethod
    def of(cls, slots: GpuSlots, racks: Int64s) -> Layout:
        """Lay out the GPUs of racks one rack after the other."""
        counts = slots.rack_count[racks]
        starts = np.cumsum(counts) - counts
        return cls(racks, starts, np.repeat(slots.rack_first[racks] - starts, counts) + np.arange(counts.sum()))


def rack_seconds(seconds: Int64s, cells: Cells, is_merged: bool, layout: Layout, slots: GpuSlots) -> RackSeconds:
    """Sum cells [second, GPU] by rack; a rack of which nothing came in a second has no row.

    Without `is_merged` each cell has one reading at most, and what is kept of several is not read.
    """
    if not cells.micros.size:
        return RackSeconds.nothing()
    racks, starts, numbers = layout
    expected = np.broadcast_to(slots.rack_count[racks], (len(seconds), len(racks)))

    def total(values: NDArray[Any]) -> Int64s:
        return np.add.reduceat(values, starts, axis=1, dtype=np.int64)

    def counted(values: NDArray[Any]) -> tuple[Int64s, Int64s]:
        """Return Σ and number of what is not missing."""
        if values.min() >= 0:
            return total(values), expected
        is_there = values >= 0
        return total(values * is_there), total(is_there)

    power, reporting = counted(cells.power)
    power_max = counted(cells.power_max)[0] if is_merged else power
    utilization, utilized = counted(cells.utilization)
    youngest, came = np.minimum.reduceat(_unheard(cells.micros), starts, axis=1), counted(cells.micros)[1]
    columns = RackSeconds(
        second=np.broadcast_to(seconds[:, None], expected.shape),
        rack=np.broadcast_to(racks, expected.shape),
        power_deciwatts=np.where(reporting > 0, power, -1),
        power_max_deciwatts=np.where(reporting > 0, power_max, -1),
        silent_nameplate_milliwatts=_silent_nameplate(cells.power, slots.nameplate_milliwatts, layout),
        utilization_sum_e4=utilization,
        utilization_count=utilized,
        temperature=np.maximum.reduceat(cells.temperature, starts, axis=1).astype(np.int64),
        expected=expected,
        reporting=reporting,
        oldest_age_microseconds=SECOND - youngest.astype(np.int64),
        readings=total(cells.readings) if is_merged else came,
        digest=summed(cells.digest if is_merged else hashes(seconds, cells, slots.identity[numbers]), starts, axis=1),
    )
    return _present(columns, came > 0)


def _unheard(micros: Int32s) -> Int32s:
    """Return micros with SECOND where nothing came: the age of such a cell is 0."""
    return micros if micros.min() >= 0 else np.where(micros < 0, np.int32(SECOND), micros)


def _present(columns: RackSeconds, came: NDArray[np.bool_]) -> RackSeconds:
    """Return the rows of racks of which something came, ordered by second and rack."""
    if came.all():
        return RackSeconds(*(column.ravel() for column in columns))
    return RackSeconds(*(column[came] for column in columns))


def _silent_nameplate(power: Int32s, nameplates: Int64s, layout: Layout) -> Int64s:
    """Return Σ of the nameplates of what is silent; −1 where one of them is not known."""
    if power.min() >= 0:
        return np.zeros((len(power), len(layout.starts)), np.int64)
    silent, nameplate = power < 0, nameplates[layout.slots]
    watts = np.add.reduceat(silent * np.maximum(nameplate, 0), layout.starts, axis=1)
    unknown = np.add.reduceat(silent & (nameplate < 0), layout.starts, axis=1, dtype=np.int64)
    return np.where(unknown > 0, -1, watts)


def hashes(seconds: Int64s, cells: Cells, identity: Words) -> Words:
    """Return the hash of the one reading of each cell [second, GPU], 0 where nothing came; `identity` by GPU."""
    since = (seconds.astype(np.uint64) * np.uint64(SECOND * SPREAD[0] % WORD))[:, None]
    total = hashed_readings(since, cells, identity)
    came = cells.micros >= 0
    if not came.all():
        total[~came] = 0
    return total


def hashed_readings(since: Words, cells: Cells | GpuRows, identity: Words) -> Words:
    """Return the hash of each reading; `since` is what its second adds.

    It is streams.digest.hashed of five words: event time in µs, power, utilization over temperature (32 bits
    each), energy, and the slot's identity. A word enters with a factor, so a column enters with a factor too,
    and no word is put together.
    """
    total = identity * np.uint64(SPREAD[4]) + since
    total += _times(cells.micros, SPREAD[0])
    total += _times(cells.power, SPREAD[1])
    total += _pair(cells.utilization, cells.temperature, SPREAD[2])
    total += _times(cells.energy, SPREAD[3])
    return mixed(total)


def _times(column: NDArray[Any], factor: int) -> Words:
    """Return a column, as words, times a factor, mod 2⁶⁴."""
    words: Words = np.multiply(column, np.uint64(factor % WORD), dtype=np.uint64, casting="unsafe")
    return words


def _pair(upper: NDArray[Any], lower: NDArray[Any], factor: int) -> Words:
    """Return the word with `upper` in its upper half and `lower` in its lower, times a factor, mod 2⁶⁴."""
    words = _times(upper, factor * HALF)
    words += _times(lower, factor)
    negative = lower < 0
    if negative.any():  # the lower half of a word holds no sign
        words += _times(negative, factor * HALF)
    return words
