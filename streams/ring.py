"""The ring: what each GPU of one partition said in each of the newest seconds, as integers.

One array a column, [second of the ring, GPU], GPUs ordered by (rack, node, gpu). Nearly always a GPU says
one thing a second, so a reading is written where nothing stands yet; what else comes is merged
(streams/cells.py), and only a second in which that happened has columns of its own for the greatest power,
the number of readings and their digest. Whether a reading came before is known by its hash: what is counted
are different readings, since a version must grow with all that changes a window. A second that is used again
is cleared in all that is read of it: a ring that cleared only its times once gave wrong sums with right counts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.cells import DTYPES, SECOND, Cells, Int16s, Int32s, Int64s, Words, bits_of, merged, one_a_cell
from streams.digest import SPREAD
from streams.gpu_rows import GpuRows
from streams.gpu_slots import GpuSlots
from streams.rack_seconds import Layout, RackSeconds, hashed_readings, hashes, rack_seconds

NO_SECOND = np.iinfo(np.int64).min
ALWAYS = Cells._fields[: Cells._fields.index("power_max")]
"""Columns that every reading writes; the others follow from them until a second cell is merged."""


class RingView(NamedTuple):
    """Show seconds of a ring as they stand, read-only until the ring is written to again.

    `second` is ascending; `slot` are numbers in GpuSlots ordered by (rack, node, gpu); all others are
    [second, slot]: `micros` of the reading that stands (−1 = nothing came), `power` and `power_max` in 0.1 W,
    `utilization` in 10⁻⁴, `temperature` in 0.1 °C + TEMPERATURE_BIAS, `energy` in J (−1 = none in each), and the
    number of `readings`.
    """

    second: Int64s
    slot: Int64s
    micros: Int32s
    power: Int32s
    power_max: Int32s
    utilization: Int16s
    temperature: Int32s
    energy: Int64s
    readings: Int32s


class Ring:
    """Hold `seconds` seconds of the racks that one partition has brought so far."""

    def __init__(self, slots: GpuSlots, seconds: int) -> None:
        self._slots = slots
        self.seconds = seconds
        self._second = np.full(seconds, NO_SECOND, np.int64)
        self._is_merged = np.zeros(seconds, np.bool_)
        """Whether all columns of a second are kept; else each cell has one reading at most."""
        self._heard: dict[int, list[Words]] = {}
        """Hashes of the readings of cells that have several, by place of the second."""
        self._layout = Layout.of(slots, np.empty(0, np.int64))
        self._column = np.full(len(slots.rack), -1, np.int64)
        """By slot: its column, −1 where its rack has not come yet."""
        self._cells = _cleared(seconds, 0)

    def write(self, rows: GpuRows) -> None:
        """Write readings; all seconds must lie within `seconds` of each other and of what is still needed."""
        if not len(rows.second):
            return
        at = self._places(rows)
        flat = Cells._make(column.reshape(-1) for column in self._cells)
        again = _claim(flat.micros, at)
        if again is None:
            self._put(flat, at, rows)
            return
        fresh = np.ones(len(at), np.bool_)
        fresh[again] = False
        self._put(flat, at[fresh], rows.where(fresh))
        self._merge(flat, at[again], rows.where(again))

    def close(self, first: int, end: int) -> RackSeconds:
        """Return the racks that reported in each second of `[first, end)`; months without any cost nothing."""
        inside = self._inside(first, end)
        is_merged = self._spread(inside)
        return rack_seconds(self._second[inside], self._taken(inside), is_merged, self._layout, self._slots)

    def touched(self, second: Int64s, slot: Int64s) -> RackSeconds:
        """Return the present state of the racks that late readings touched, each (second, rack) once."""
        pairs = np.unique(np.stack((second, self._slots.rack[slot]), axis=1), axis=0)
        parts = [self._of_racks(int(each), pairs[pairs[:, 0] == each, 1]) for each in np.unique(second)]
        return RackSeconds(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def view(self, first: int, end: int) -> RingView:
        """Return the seconds of `[first, end)` that are here, whole, with every GPU of the racks that have come."""
        inside = self._inside(first, end)
        is_merged = self._spread(inside)
        cells = self._taken(inside)
        power_max = cells.power_max if is_merged else cells.power
        readings = cells.readings if is_merged else (cells.micros >= 0).astype(np.int32)
        micros, power, utilization, temperature, energy, *_ = cells
        second, slots = self._second[inside], self._layout.slots
        view = RingView(second, slots, micros, power, power_max, utilization, temperature, energy, readings)
        return RingView._make(_read_only(column) for column in view)

    def _places(self, rows: GpuRows) -> Int64s:
        """Return where each reading belongs in the flat columns; make room for new racks and seconds."""
        column = self._column.take(rows.slot)
        if column.min() < 0:
            self._make_room(np.unique(self._slots.rack[rows.slot[column < 0]]))
            column = self._column.take(rows.slot)
        width, low, high = len(self._layout.slots), int(rows.second.min()), int(rows.second.max())
        if low == high:
            self._recycle(np.array([low]))
            column += low % self.seconds * width
            return column
        self._recycle(np.unique(rows.second) if high - low > self.seconds else _distinct(rows.second, low))
        column += (rows.second - low + low % self.seconds) % self.seconds * width
        return column

    def _put(self, flat: Cells, at: Int64s, rows: GpuRows) -> None:
        """Write readings into cells in which nothing stands, one a cell."""
        for name in ALWAYS:
            getattr(flat, name)[at] = getattr(rows, name)
        if not self._is_merged.any():
            return
        kept = np.flatnonzero(self._is_merged[rows.second % self.seconds])
        for name, column in self._alone(rows.where(kept))._asdict().items():
            getattr(flat, name)[at[kept]] = column

    def _merge(self, flat: Cells, at: Int64s, rows: GpuRows) -> None:
        """Write readings beside what may stand in their cells."""
        self._keep_all(np.unique(rows.second) % self.seconds)
        new = self._alone(rows)
        is_new = self._not_heard(flat, at, new)
        if not len(is_new):
            return
        at, new = one_a_cell(at[is_new], new.pick(is_new))
        for name, standing in merged(flat.pick(at), new)._asdict().items():
            getattr(flat, name)[at] = standing

    def _alone(self, rows: GpuRows) -> Cells:
        """Return each reading as the cell that it makes alone."""
        since = (rows.second * SECOND).astype(np.uint64) * np.uint64(SPREAD[0])
        digest = hashed_readings(since, rows, self._slots.identity[rows.slot])
        ones = np.ones(len(digest), np.int32)
        always = (getattr(rows, name) for name in ALWAYS)
        return Cells._make((*always, rows.power, bits_of(rows.micros), ones, digest))

    def _not_heard(self, flat: Cells, at: Int64s, new: Cells) -> NDArray[np.intp]:
        """Return which readings their cells do not count yet, each once, and remember those of shared cells.

        Only a reading of the same 64th of a second as one before can be the same: those alone are looked for.
        """
        first = np.sort(np.unique(new.digest, return_index=True)[1])
        at, digest, bits = at[first], new.digest[first], new.seen[first]
        place = at // len(self._layout.slots)
        is_new = (flat.seen[at] & bits) == 0
        is_new |= (flat.readings[at] == 1) & (flat.digest[at] != digest)
        for each in np.unique(place).tolist():
            heard = self._heard[each]
            unsure = np.flatnonzero((place == each) & ~is_new & (flat.readings[at] > 1))
            if len(unsure):
                is_new[unsure] = ~np.isin(digest[unsure], np.concatenate(heard))
            fresh = np.flatnonzero((place == each) & is_new)
            alone = at[fresh][flat.readings[at[fresh]] == 1]
            heard += [digest[fresh], flat.digest[np.unique(alone)]]
        new_ones: NDArray[np.intp] = first[is_new]
        return new_ones

    def _keep_all(self, inside: Int64s) -> None:
        """Begin to keep all columns of seconds of the ring."""
        for each in inside[~self._is_merged[inside]].tolist():
            cells, second = self._cells, self._second[each : each + 1]
            one = Cells._make(column[each : each + 1] for column in cells)
            cells.power_max[each] = cells.power[each]
            cells.seen[each] = bits_of(cells.micros[each])
            cells.readings[each] = cells.micros[each] >= 0
            cells.digest[each] = hashes(second, one, self._slots.identity[self._layout.slots])
            self._is_merged[each] = True
            self._heard[each] = []

    def _make_room(self, new: Int64s) -> None:
        old, cells = self._layout.slots, self._cells
        self._layout = Layout.of(self._slots, np.union1d(self._layout.racks, new))
        self._column[self._layout.slots] = np.arange(len(self._layout.slots))
        self._cells = _cleared(self.seconds, len(self._layout.slots))
        for name, before in cells._asdict().items():
            getattr(self._cells, name)[:, self._column[old]] = before

    def _recycle(self, seconds: Int64s) -> None:
        places = seconds % self.seconds
        stale = self._second[places] != seconds
        if not stale.any():
            return
        if np.any(self._second[places[stale]] > seconds[stale]):
            raise AssertionError(f"the ring of {self.seconds} s was asked for a second that it has left behind")
        for place in places[stale].tolist():
            for name in ALWAYS:
                getattr(self._cells, name)[place] = -1
        self._is_merged[places[stale]] = False
        self._second[places[stale]] = seconds[stale]

    def _inside(self, first: int, end: int) -> Int64s:
        """Return which seconds of the ring lie in `[first, end)`, in their order."""
        inside = np.flatnonzero((self._second >= first) & (self._second < end))
        return inside[np.argsort(self._second[inside])]

    def _spread(self, inside: Int64s) -> bool:
        """Keep all columns of these seconds where one of them does; tell whether they do."""
        if not self._is_merged[inside].any():
            return False
        self._keep_all(inside)
        return True

    def _taken(self, inside: Int64s) -> Cells:
        """Return whole seconds of the ring: as they lie where they lie side by side, else copied."""
        if len(inside) and inside[-1] - inside[0] == len(inside) - 1:
            side_by_side = slice(int(inside[0]), int(inside[-1]) + 1)
            return Cells._make(column[side_by_side] for column in self._cells)
        return self._cells.pick(inside)

    def _of_racks(self, second: int, racks: Int64s) -> RackSeconds:
        """Return these racks in one second that the ring holds."""
        layout = Layout.of(self._slots, racks)
        inside = np.array([second % self.seconds])
        is_merged = self._spread(inside)
        cells = Cells._make(column[inside[:, None], self._column[layout.slots]] for column in self._cells)
        return rack_seconds(np.array([second]), cells, is_merged, layout, self._slots)


def _cleared(seconds: int, width: int) -> Cells:
    """Return cells in which nothing stands."""
    empty = {name: -1 if name in {*ALWAYS, "power_max"} else 0 for name in Cells._fields}
    return Cells._make(np.full((seconds, width), value, DTYPES[name]) for name, value in empty.items())


def _claim(micros: Int32s, at: Int64s) -> Int64s | None:
    """Tell which readings come to a cell in which one stands, or to one of another reading; None = none do.

    Readings write their numbers into their cells and look whose number stands there: no sort is needed.
    """
    numbers = np.arange(len(at), dtype=np.int32)
    if micros.take(at).max() < 0:
        micros[at] = numbers
        is_mine = micros.take(at) == numbers
        return None if is_mine.all() else np.flatnonzero(~is_mine)
    empty = np.flatnonzero(micros.take(at) < 0)
    micros[at[empty]] = empty
    again = np.ones(len(at), np.bool_)
    again[empty] = micros[at[empty]] != empty
    return np.flatnonzero(again)


def _read_only(column: NDArray[Any]) -> NDArray[Any]:
    view = column.view()
    view.flags.writeable = False
    return view


def _distinct(seconds: Int64s, low: int) -> Int64s:
    return np.flatnonzero(np.bincount(seconds - low)) + low
