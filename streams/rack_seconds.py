"""Seconds of racks: the sums of the cells of each rack's GPUs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.cells import SECOND, Cells, Int64s, Words
from streams.digest import SPREAD, WORD, mixed, summed
from streams.gpu_rows import GpuRows
from streams.gpu_slots import GpuSlots
from streams.runs import Bools, Runs, there

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
    runs: Runs
    slots: Int64s

    @classmethod
    def of(cls, slots: GpuSlots, racks: Int64s) -> Layout:
        """Lay out the GPUs of racks one rack after the other."""
        counts = slots.rack_count[racks]
        starts = np.cumsum(counts) - counts
        numbers = np.repeat(slots.rack_first[racks] - starts, counts) + np.arange(counts.sum())
        return cls(racks, Runs(starts, counts), numbers)


def rack_seconds(seconds: Int64s, cells: Cells, is_merged: bool, layout: Layout, slots: GpuSlots) -> RackSeconds:
    """Sum cells [second, GPU] by rack; a rack of which nothing came in a second has no row.

    Without `is_merged` each cell has one reading at most, and what is kept of several is not read.
    """
    if not cells.micros.size:
        return RackSeconds.nothing()
    racks, runs, numbers = layout
    came, powered, used = there(cells.micros), there(cells.power), there(cells.utilization)
    heard, reporting, utilized = (runs.number(each, len(seconds)) for each in (came, powered, used))
    power = runs.total(cells.power, powered)
    power_max = runs.total(cells.power_max, there(cells.power_max)) if is_merged else power
    digests = cells.digest if is_merged else hashes(seconds, cells, slots.identity[numbers])
    columns = RackSeconds(
        second=np.broadcast_to(seconds[:, None], heard.shape),
        rack=np.broadcast_to(racks, heard.shape),
        power_deciwatts=np.where(reporting > 0, power, -1),
        power_max_deciwatts=np.where(reporting > 0, power_max, -1),
        silent_nameplate_milliwatts=_silent_nameplate(powered, slots.nameplate_milliwatts[numbers], runs, heard.shape),
        utilization_sum_e4=runs.total(cells.utilization, used),
        utilization_count=utilized,
        temperature=runs.greatest(cells.temperature),
        expected=np.broadcast_to(runs.counts, heard.shape),
        reporting=reporting,
        oldest_age_microseconds=runs.oldest_age(cells.micros, came),
        readings=runs.total(cells.readings) if is_merged else heard,
        digest=summed(digests, runs.starts, axis=1),
    )
    return _present(columns, heard > 0)


def _present(columns: RackSeconds, came: NDArray[np.bool_]) -> RackSeconds:
    """Return the rows of racks of which something came, ordered by second and rack."""
    if came.all():
        return RackSeconds(*(column.ravel() for column in columns))
    return RackSeconds(*(column[came] for column in columns))


def _silent_nameplate(powered: Bools | None, nameplate: Int64s, runs: Runs, shape: tuple[int, ...]) -> Int64s:
    """Return Σ of the nameplates of what is silent; −1 where one of them is not known."""
    if powered is None:
        return np.zeros(shape, np.int64)
    watts = runs.total(np.maximum(nameplate, 0), ~powered)
    return np.where(runs.number(~powered & (nameplate < 0), len(powered)) > 0, -1, watts)


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
