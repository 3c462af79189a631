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
    node_base: Int64s
    """By node id: where its slots lie in `slot_at` less its lowest index, −1 where there is no such node."""
    node_span: Int64s
    """By node id: its highest index + 1."""
    node_rack: Int64s
    """By node id: the rack it stands in."""
    slot_at: Int64s
    """Slot number by node_base + index; −1 in the holes of a node's numbering."""
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
        size, spans = int(node.max(initial=0)) + 1, np.zeros(int(node.max(initial=0)) + 1, np.int64)
        np.maximum.at(spans, node, gpu + 1)
        base = np.where(spans > 0, np.cumsum(spans) - spans, -1)
        at = np.full(int(spans.sum()) + 1, UNKNOWN, np.int64)
        at[base[node] + gpu] = np.arange(len(node))
        racks = int(rack.max(initial=0)) + 1
        first = np.full(racks, UNKNOWN, np.int64)
        first[rack[::-1]] = np.arange(len(rack))[::-1]
        node_rack = np.full(size, UNKNOWN, np.int64)
        node_rack[node] = rack
        return cls(
            rack_first=first,
            rack_count=np.bincount(rack, minlength=racks).astype(np.int64),
            node_base=base,
            node_span=spans,
            node_rack=node_rack,
            slot_at=at,
            nameplate_milliwatts=nameplate.to_numpy(),
            identity=hashed(rack, node, gpu),
        )

    def find(self, rack: Int32s, node: Int32s, gpu: Int32s) -> Int64s:
        """Return the slot of each reading; −1 where the registry has no such GPU in that rack."""
        known = (node >= 0) & (node < len(self.node_base)) & (gpu >= 0)
        inside = np.where(known, node, 0)
        known &= (self.node_rack[inside] == rack) & (gpu < self.node_span[inside])
        return np.where(known, self.slot_at[np.where(known, self.node_base[inside] + gpu, 0)], UNKNOWN)
