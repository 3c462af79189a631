"""Every GPU slot of the facility by number, so that a reading finds its cell without a join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streams.digest import hashed

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

UNKNOWN = -1


@dataclass(frozen=True)
class GpuSlots:
    """Number the slots of all racks in the order (rack, node, gpu); a rack's slots are one stretch."""

    rack_first: Int64s
    """By rack id: number of its first slot, −1 where no such rack has GPUs."""
    rack_count: Int64s
    """By rack id: how many slots it has."""
    slot_at: Int64s
    """By node id × `widest` + index: the slot number, −1 where there is none."""
    widest: int
    """More than the highest index of any node."""
    rack: Int32s
    """By slot, as `node` and `gpu`: the ids that messages carry."""
    node: Int32s
    gpu: Int32s
    nameplate_milliwatts: Int64s
    """By slot; −1 = not known."""
    identity: NDArray[np.uint64]
    """By slot: the hash of (rack, node, gpu)."""

    @classmethod
    def of(cls, slots: pl.DataFrame) -> GpuSlots:
        """Number a registry's `slots` frame (rack, node, gpu int32, nameplate_watts f64). Pure."""
        ordered = slots.sort("rack", "node", "gpu")
        rack, node, gpu = (ordered[name].to_numpy().astype(np.int64) for name in ("rack", "node", "gpu"))
        nameplate = (ordered["nameplate_watts"].cast(pl.Float64) * 1000).round().fill_null(UNKNOWN).cast(pl.Int64)
        widest, racks = int(gpu.max(initial=0)) + 1, int(rack.max(initial=0)) + 1
        at = np.full((int(node.max(initial=0)) + 1) * widest, UNKNOWN, np.int64)
        at[node * widest + gpu] = np.arange(len(node))
        first = np.full(racks, UNKNOWN, np.int64)
        first[rack[::-1]] = np.arange(len(rack))[::-1]
        return cls(
            rack_first=first,
            rack_count=np.bincount(rack, minlength=racks).astype(np.int64),
            slot_at=at,
            widest=widest,
            rack=rack.astype(np.int32),
            node=node.astype(np.int32),
            gpu=gpu.astype(np.int32),
            nameplate_milliwatts=nameplate.to_numpy(),
            identity=hashed(rack, node, gpu),
        )

    def find(self, rack: Int32s, node: Int32s, gpu: Int32s) -> Int64s:
        """Return the slot of each reading; −1 where the registry has no such GPU in that rack."""
        if not len(node) or not len(self.rack):
            return np.full(len(node), UNKNOWN, np.int64)
        at = node.astype(np.int64) * self.widest + gpu
        if gpu.min() < 0 or gpu.max() >= self.widest or at.min() < 0 or at.max() >= len(self.slot_at):
            inside = (gpu >= 0) & (gpu < self.widest) & (at >= 0) & (at < len(self.slot_at))
            slot = np.where(inside, self.slot_at[np.where(inside, at, 0)], UNKNOWN)
        else:
            slot = self.slot_at.take(at)
        is_elsewhere = self.rack.take(slot) != rack
        if is_elsewhere.any():
            slot[is_elsewhere] = UNKNOWN
        return slot
