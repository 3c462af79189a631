"""The ring: what each GPU of one partition said in each of the newest seconds, as integers.

A cell is one row of seven integers, so that a recycled second is cleared by one assignment (a ring that
cleared only its times once gave wrong sums with right counts). Of several readings of a GPU in one second
the one with the greatest time stands, the greater value of equal times, and one with power before one
without; the greatest power and temperature are kept over all. Writing a reading twice changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.digest import hashed, summed
from streams.gpu_slots import GpuSlots

Int64s = NDArray[np.int64]
Cells = NDArray[np.int32]

SECOND = 1_000_000
RANK, POWER, POWER_MAX, UTILIZATION, TEMPERATURE, SEEN_LOW, SEEN_HIGH = range(7)
"""Columns of a cell. RANK = microsecond of the second, + SECOND where the reading has power; −1 = nothing yet.
Power in 0.1 W, utilization in 10⁻⁴, −1 = none; temperature in 0.1 °C + TEMPERATURE_BIAS, −1 = none.
SEEN_… = one bit for each 1/64 s in which a reading was made: their number is the number of readings."""
EMPTY: Cells = np.array([-1, -1, -1, -1, -1, 0, 0], np.int32)
TEMPERATURE_BIAS = 1_000
NO_SECOND = np.iinfo(np.int64).min


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


def cells_of(time: Int64s, power: Cells, utilization: Cells, temperature: Cells) -> Cells:
    """Return one cell a reading; `temperature` in 0.1 °C, already biased; −1 = null in all but `time`."""
    microsecond = (time % SECOND).astype(np.int32)
    bit = microsecond // (SECOND // 64)
    cells = np.empty((len(time), len(EMPTY)), np.int32)
    cells[:, RANK] = np.where(power >= 0, microsecond + SECOND, microsecond)
    cells[:, POWER] = cells[:, POWER_MAX] = power
    cells[:, UTILIZATION] = utilization
    cells[:, TEMPERATURE] = temperature
    seen = np.left_shift(np.uint64(1), bit.astype(np.uint64)).view(np.uint32).reshape(-1, 2)
    cells[:, SEEN_LOW:] = seen.view(np.int32)
    return cells


class Ring:
    """Hold `seconds` seconds of the racks that one partition has brought so far."""

    def __init__(self, slots: GpuSlots, seconds: int) -> None:
        self._slots = slots
        self.seconds = seconds
        self._second = np.full(seconds, NO_SECOND, np.int64)
        self._cells = np.empty((seconds, 0, len(EMPTY)), np.int32)
        self._column = np.full(len(slots.rack_first), -1, np.int64)
        self._racks = np.empty(0, np.int64)
        self._starts = np.empty(0, np.int64)
        self._numbers = np.empty(0, np.int64)

    def write(self, second: Int64s, rack: Int64s, slot: Int64s, cells: Cells) -> None:
        """Write readings; all seconds must lie within `seconds` of each other and of what is still needed."""
        if not len(second):
            return
        self._make_room(rack)
        columns = self._numbers_of(rack, slot)
        self._recycle(np.unique(second))
        at = (second % self.seconds) * self._cells.shape[1] + columns
        at, cells = one_a_cell(at, cells)
        flat = self._cells.reshape(-1, len(EMPTY))
        is_new = flat[at, RANK] < 0
        flat[at] = cells if is_new.all() else merged(flat[at], cells)

    def close(self, first: int, end: int) -> RackSeconds:
        """Return the racks that reported in each second of `[first, end)`; months without any cost nothing."""
        inside = np.flatnonzero((self._second >= first) & (self._second < end))
        inside = inside[np.argsort(self._second[inside])]
        return self._summed(inside, np.arange(len(self._racks)))

    def touched(self, second: Int64s, rack: Int64s) -> RackSeconds:
        """Return the present state of the racks that late readings touched, each (second, rack) once."""
        pairs = np.unique(np.stack((second, self._position_of(rack)), axis=1), axis=0)
        parts = [
            self._summed(np.array([each % self.seconds]), pairs[pairs[:, 0] == each, 1]) for each in np.unique(second)
        ]
        return RackSeconds(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _make_room(self, rack: Int64s) -> None:
        missing = self._column[rack] < 0
        if not missing.any():
            return
        new = np.unique(rack[missing])
        counts = self._slots.rack_count[new]
        starts = len(self._numbers) + np.cumsum(counts) - counts
        self._column[new] = starts
        firsts = np.repeat(self._slots.rack_first[new] - (np.cumsum(counts) - counts), counts)
        self._numbers = np.concatenate((self._numbers, firsts + np.arange(counts.sum())))
        self._racks = np.concatenate((self._racks, new))
        self._starts = np.concatenate((self._starts, starts))
        room = np.broadcast_to(EMPTY, (self.seconds, int(counts.sum()), len(EMPTY)))
        self._cells = np.concatenate((self._cells, room), axis=1)

    def _numbers_of(self, rack: Int64s, slot: Int64s) -> Int64s:
        return self._column[rack] + slot - self._slots.rack_first[rack]

    def _position_of(self, rack: Int64s) -> Int64s:
        return np.searchsorted(self._starts, self._column[rack])

    def _recycle(self, seconds: Int64s) -> None:
        slots = seconds % self.seconds
        stale = self._second[slots] != seconds
        if np.any(self._second[slots[stale]] > seconds[stale]):
            raise AssertionError(f"the ring of {self.seconds} s was asked for a second that it has left behind")
        self._cells[slots[stale]] = EMPTY
        self._second[slots[stale]] = seconds[stale]

    def _summed(self, slots: NDArray[np.intp], racks: NDArray[np.intp]) -> RackSeconds:
        if len(racks) == len(self._racks):
            cells, starts, numbers = self._cells[slots], self._starts, self._numbers
        else:
            lengths = self._slots.rack_count[self._racks[racks]]
            starts = np.cumsum(lengths) - lengths
            columns = np.repeat(self._starts[racks] - starts, lengths) + np.arange(lengths.sum())
            cells, numbers = self._cells[slots][:, columns], self._numbers[columns]
        layout = _Layout(self._racks[racks], starts, numbers)
        return _rack_seconds(cells, self._second[slots], layout, self._slots)


class _Layout(NamedTuple):
    """Where the GPUs of each rack stand among the columns of cells, and their numbers."""

    racks: Int64s
    starts: Int64s
    numbers: Int64s


def one_a_cell(at: Int64s, cells: Cells) -> tuple[Int64s, Cells]:
    """Return the readings with those that fall into one cell merged; `at` is unchanged where none do."""
    if len(at) < 2 or not len(np.flatnonzero(np.diff(np.sort(at)) == 0)):
        return at, cells
    order = np.lexsort((cells[:, UTILIZATION], cells[:, POWER], cells[:, RANK], at))
    at, cells = at[order], cells[order]
    starts = np.flatnonzero(np.diff(at, prepend=at[0] - 1))
    kept = cells[np.append(starts[1:], len(at)) - 1]
    for column in (POWER_MAX, TEMPERATURE):
        kept[:, column] = np.maximum.reduceat(cells[:, column], starts)
    for column in (SEEN_LOW, SEEN_HIGH):
        kept[:, column] = np.bitwise_or.reduceat(cells[:, column], starts)
    return at[starts], kept


def merged(old: Cells, new: Cells) -> Cells:
    """Return each cell with what stands of both; commutative, and merging twice is merging once."""
    stands = new[:, RANK] > old[:, RANK]
    ties = np.flatnonzero(new[:, RANK] == old[:, RANK])
    if len(ties):
        value = (POWER, UTILIZATION)
        mine, theirs = (each[ties][:, value].astype(np.int64) @ (1 << 20, 1) for each in (new, old))
        stands[ties] = mine > theirs
    out = np.where(stands[:, None], new, old)
    np.maximum(old[:, POWER_MAX], new[:, POWER_MAX], out=out[:, POWER_MAX])
    np.maximum(old[:, TEMPERATURE], new[:, TEMPERATURE], out=out[:, TEMPERATURE])
    np.bitwise_or(old[:, SEEN_LOW:], new[:, SEEN_LOW:], out=out[:, SEEN_LOW:])
    return out


def _rack_seconds(cells: Cells, seconds: Int64s, layout: _Layout, slots: GpuSlots) -> RackSeconds:
    """Sum cells [second, GPU, column] by rack; a rack of which nothing came in a second has no row."""
    if not cells.size:
        return RackSeconds(*(np.empty(0, np.int64) for _ in RackSeconds._fields))
    racks, starts, numbers = layout
    # One column after the other in memory: what follows reads each of them several times.
    rank, power, power_max, utilization, temperature, low, high = np.ascontiguousarray(np.moveaxis(cells, 2, 0))
    came, powered, used = rank >= 0, power >= 0, utilization >= 0

    def total(values: NDArray[np.generic]) -> Int64s:
        return np.add.reduceat(values, starts, axis=1, dtype=np.int64)

    def greatest(values: NDArray[np.generic]) -> Int64s:
        return np.maximum.reduceat(values, starts, axis=1).astype(np.int64)

    reporting = total(powered)
    readings = total(np.bitwise_count(low.view(np.uint32)) + np.bitwise_count(high.view(np.uint32)))
    nameplate = slots.nameplate_milliwatts[numbers]
    micros = rank % SECOND
    words = hashed(
        seconds[:, None] * SECOND + micros,
        _pair(power, power_max),
        _pair(utilization, temperature),
        _pair(high, low),
        np.broadcast_to(slots.identity[numbers].view(np.int64), rank.shape),
    )
    columns = RackSeconds(
        second=np.broadcast_to(seconds[:, None], reporting.shape),
        rack=np.broadcast_to(racks, reporting.shape),
        power_deciwatts=np.where(reporting > 0, total(power * powered), -1),
        power_max_deciwatts=np.where(reporting > 0, total(power_max * powered), -1),
        silent_nameplate_milliwatts=_silent_nameplate(~powered, nameplate, starts),
        utilization_sum_e4=total(utilization * used),
        utilization_count=total(used),
        temperature=greatest(temperature),
        expected=np.broadcast_to(slots.rack_count[racks], reporting.shape),
        reporting=reporting,
        oldest_age_microseconds=greatest(np.where(came, SECOND - micros, 0)),
        readings=readings,
        digest=summed(np.where(came, words, np.uint64(0)), starts, axis=1),
    )
    return _present(columns)


def _present(columns: RackSeconds) -> RackSeconds:
    """Return the rows of racks of which something came, ordered by second and rack."""
    rows = RackSeconds(*(column[columns.readings > 0] for column in columns))
    order = np.lexsort((rows.rack, rows.second))
    return RackSeconds(*(column[order] for column in rows))


def _silent_nameplate(silent: NDArray[np.bool_], nameplate: Int64s, starts: Int64s) -> Int64s:
    """Return Σ of the nameplates of what is silent; −1 where one of them is not known."""
    if not silent.any():
        return np.zeros((len(silent), len(starts)), np.int64)
    watts = np.add.reduceat(silent * np.maximum(nameplate, 0), starts, axis=1)
    unknown = np.add.reduceat(silent & (nameplate < 0), starts, axis=1, dtype=np.int64)
    return np.where(unknown > 0, -1, watts)


def _pair(upper: Cells, lower: Cells) -> Int64s:
    """Return two columns of a cell as one word."""
    return upper.astype(np.int64) << 32 | lower.view(np.uint32)
