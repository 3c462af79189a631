"""The rings of one partition, one for each facility in force: a reading is written by that of its second.

A second belongs to one facility, so what is asked of seconds is asked of one ring after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from schemas.subject import gpu_subject
from streams.cells import Int64s
from streams.gpu_rows import GpuRows
from streams.gpu_slots import GpuSlots
from streams.in_force import InForce
from streams.rack_seconds import RackSeconds
from streams.ring import Ring, RingView


class Part(NamedTuple):
    """Hold the seconds `[first, end)` of one facility: its GPUs by slot number, and the ring that has them."""

    first: int
    end: int
    slots: GpuSlots
    ring: Ring


class Rings:
    """Hold the newest `seconds` seconds of the racks that one partition has brought so far."""

    def __init__(self, in_force: InForce, seconds: int) -> None:
        self.seconds = seconds
        self._in_force = in_force
        self._rings: dict[int, Ring] = {}
        self._ends: dict[int, int] = {}

    def parts(self, first: int, end: int) -> Iterator[Part]:
        """Yield the seconds `[first, end)` by the facility in force in them, in their order."""
        for standing in self._in_force.between(first, end) if first < end else ():
            if standing.first not in self._rings:
                self._rings[standing.first] = Ring(standing.slots, self.seconds)
            self._ends[standing.first] = standing.end
            low, high = max(first, standing.first), min(end, standing.end)
            yield Part(low, high, standing.slots, self._rings[standing.first])

    def write(self, rows: GpuRows) -> None:
        """Write readings whose slots are those of the facility of their second (see Ring.write)."""
        if not len(rows.second):
            return
        parts = list(self.parts(int(rows.second.min()), int(rows.second.max()) + 1))
        for part in parts:
            is_theirs = (rows.second >= part.first) & (rows.second < part.end)
            part.ring.write(rows if len(parts) == 1 else rows.where(is_theirs))

    def close(self, first: int, end: int) -> RackSeconds:
        """Return the racks that reported in each second of `[first, end)`."""
        return _joined([part.ring.close(part.first, part.end) for part in self.parts(first, end)])

    def touched(self, second: Int64s, slot: Int64s) -> RackSeconds:
        """Return the present state of the racks that late readings touched, each (second, rack) once."""
        found = []
        for part in self.parts(int(second.min()), int(second.max()) + 1):
            is_theirs = (second >= part.first) & (second < part.end)
            if is_theirs.any():
                found.append(part.ring.touched(second[is_theirs], slot[is_theirs]))
        return _joined(found)

    def subjects(self, rows: GpuRows) -> Int64s:
        """Return the subjects (kind GPU) of readings, each once."""
        found = []
        for part in self.parts(int(rows.second.min()), int(rows.second.max()) + 1):
            slot = rows.slot[(rows.second >= part.first) & (rows.second < part.end)]
            found.append(gpu_subject(part.slots.node[slot].astype(np.int64), part.slots.gpu[slot]))
        return np.unique(np.concatenate(found))

    def view(self, first: int, end: int) -> tuple[GpuSlots, RingView]:
        """Return the seconds of `[first, end)` as they stand, and the slots by whose numbers they are ordered.

        Where the facility changes between them, the slots are those of all GPUs that there are in any of them: a
        GPU says nothing in the seconds in which it is not there.
        """
        parts = list(self.parts(first, end))
        if len(parts) == 1:
            return parts[0].slots, parts[0].ring.view(first, end)
        slots = GpuSlots.of(pl.concat(_frame(part.slots) for part in parts).unique(["node", "gpu"], keep="last"))
        views = [_renumbered(part.ring.view(part.first, part.end), part.slots, slots) for part in parts]
        present = np.unique(np.concatenate([view.slot for view in views]))
        return slots, _stacked([_widened(view, present) for view in views], present)

    def forget(self, second: int) -> None:
        """Drop the rings of facilities all of whose seconds lie before `second`."""
        for first in [first for first, end in self._ends.items() if end <= second]:
            del self._rings[first], self._ends[first]


def _joined(parts: list[RackSeconds]) -> RackSeconds:
    if not parts:
        return RackSeconds.nothing()
    return parts[0] if len(parts) == 1 else RackSeconds(*map(np.concatenate, zip(*parts, strict=True)))


def _frame(slots: GpuSlots) -> pl.DataFrame:
    watts = slots.nameplate_milliwatts / 1000
    frame = pl.DataFrame({"rack": slots.rack, "node": slots.node, "gpu": slots.gpu, "nameplate_watts": watts})
    return frame.with_columns(pl.when(pl.col("nameplate_watts") >= 0).then("nameplate_watts"))


def _renumbered(view: RingView, before: GpuSlots, after: GpuSlots) -> RingView:
    rack, node, gpu = (ids[view.slot] for ids in (before.rack, before.node, before.gpu))
    return view._replace(slot=after.find(rack, node, gpu))


def _widened(view: RingView, slots: Int64s) -> RingView:
    """Return a view with a column for each of `slots`, among which its own are: −1 and no reading in the new ones."""
    at = np.searchsorted(slots, view.slot)
    columns = {}
    for name in RingView._fields[2:]:
        column = getattr(view, name)
        wide = np.full((len(view.second), len(slots)), 0 if name == "readings" else -1, column.dtype)
        wide[:, at] = column
        columns[name] = wide
    return RingView(view.second, slots, **columns)


def _stacked(views: list[RingView], slots: Int64s) -> RingView:
    second = np.concatenate([view.second for view in views])
    return RingView(second, slots, *(np.concatenate(columns) for columns in zip(*(v[2:] for v in views), strict=True)))
