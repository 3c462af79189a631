"""Admitted GPU readings as arrays, each with the number of its slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.arrow_layout import NONE
from schemas.block_admission import quantized
from schemas.blocks import Block
from schemas.gpu import GPU
from streams.cells import SECOND, TEMPERATURE_BIAS, Int16s, Int32s, Int64s
from streams.gpu_slots import GpuSlots
from streams.in_force import InForce, span


class GpuRows(NamedTuple):
    """Readings in log order: the second and slot of each (−1 = the registry has no such GPU), and its values.

    Values as in streams.cells.Cells; −1 = null.
    """

    second: Int64s
    slot: Int64s
    micros: Int32s
    power: Int32s
    utilization: Int16s
    temperature: Int32s
    energy: Int64s

    @classmethod
    def of(cls, rows: pl.DataFrame, slots: GpuSlots) -> GpuRows:
        """Convert admitted rows; frame in: GPU's columns and the integers of admission."""
        warmth = (pl.col("temperature_celsius") * 10).round() + TEMPERATURE_BIAS
        columns = rows.select(
            pl.col("time").cast(pl.Int64),
            "rack",
            "node",
            "gpu",
            pl.col("power_deciwatts").fill_null(-1),
            pl.col("utilization_e4").fill_null(-1),
            warmth.fill_null(-1).cast(pl.Int32).alias("warmth"),
            pl.col("energy_whole_joules").fill_null(-1),
        )
        time, rack, node, gpu, *values = (column.to_numpy() for column in columns)
        return cls._at(time, slots.find(rack, node, gpu), *values)

    @classmethod
    def of_block(cls, block: Block, slots: GpuSlots) -> GpuRows:
        """Convert a block of which every row is admitted, to the integers that admission makes of it."""
        warmth = (np.rint(block.filled("temperature_celsius", 0) * np.float32(10)) + TEMPERATURE_BIAS).astype(np.int32)
        if block.nulls("temperature_celsius") != NONE:
            warmth[~block.is_there("temperature_celsius")] = -1
        power, utilization, energy = (
            quantized(GPU, block, name, null=-1)
            for name in ("power_deciwatts", "utilization_e4", "energy_whole_joules")
        )
        slot = slots.find(*(block.column(name) for name in ("rack", "node", "gpu")))
        return cls._at(block.column("time"), slot, power, utilization, warmth, energy)

    @classmethod
    def joined(cls, parts: Sequence[GpuRows]) -> GpuRows:
        """Return rows one part after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls._make(np.concatenate(columns) for columns in zip(*parts, strict=True))

    @classmethod
    def _at(cls, time: Int64s, slot: Int64s, *values: NDArray[Any]) -> GpuRows:
        second = time // SECOND
        return cls(second, slot, (time - second * SECOND).astype(np.int32), *values)

    @property
    def time(self) -> Int64s:
        """Return the event time of each row, UTC µs."""
        return self.second * SECOND + self.micros

    @classmethod
    def in_force(cls, rows: pl.DataFrame, in_force: InForce) -> GpuRows:
        """Convert a frame, with the slot that each GPU has in the facility of its second."""
        standings = in_force.between(*span(rows))
        converted = cls.of(rows, standings[-1].slots)
        for standing in standings[:-1]:
            theirs = np.flatnonzero((converted.second >= standing.first) & (converted.second < standing.end))
            ids = (rows[name].gather(theirs).to_numpy() for name in ("rack", "node", "gpu"))
            converted.slot[theirs] = standing.slots.find(*ids)
        return converted

    def part(self, start: int, end: int) -> GpuRows:
        """Return rows `[start, end)`."""
        return GpuRows._make(column[start:end] for column in self)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> GpuRows:
        """Return the rows that a mask or an index chooses."""
        if chosen.dtype == np.bool_:
            return GpuRows._make(column[chosen] for column in self)
        return GpuRows._make(column.take(chosen) for column in self)
