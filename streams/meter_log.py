"""Admitted rows of `telemetry.power.v1` as integers, as roll up sums them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.block_admission import quantized
from schemas.blocks import Block
from schemas.message import Message
from schemas.meter import METER
from streams.in_force import InForce, Intervals, span
from streams.meter_rows import placed

SECOND = 1_000_000
HOLD_INTERVALS = 3
MAX_HOLD_MICROSECONDS = 180 * SECOND
"""A source slower than once a minute is held for 3 minutes: a restart reads again as far back as it holds."""
NULL = np.iinfo(np.int64).min
"""Stands for null: less than every value, and never summed."""
QUANTA = ("power_milliwatts", "energy_millijoules", "current_milliamps")

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


class MeterLog(NamedTuple):
    """Hold readings in log order by partition; `time` and `hold` in µs, power in mW, energy in mJ, current in mA.

    NULL = not reported; in `hold` that the meter was in no facility in its second.
    """

    meter: Int64s
    time: Int64s
    phase: Int64s
    power: Int64s
    energy: Int64s
    current: Int64s
    hold: Int64s
    partition: Int64s
    offset: Int64s

    @classmethod
    def of(cls, frame: pl.DataFrame, in_force: InForce) -> MeterLog:
        """Convert admitted rows, each by the facility of its second.

        **Frame in** METER's columns, the integers of admission, `_partition`, `_offset`.
        """
        meter, time, phase, partition, offset = (
            frame[name].to_physical().to_numpy().astype(np.int64)
            for name in ("meter", "time", "phase", "_partition", "_offset")
        )
        values = (frame[name].fill_null(NULL).to_numpy() for name in QUANTA)
        interval = frame["interval_seconds"].fill_null(0.0).to_numpy()
        hold = np.full(len(frame), NULL)
        for standing in in_force.between(*span(frame)):
            is_theirs = (time // SECOND >= standing.first) & (time // SECOND < standing.end)
            hold[is_theirs] = holds(meter[is_theirs], interval[is_theirs], standing.intervals)
        return cls._make((meter, time, phase, *values, hold, partition, offset))

    @classmethod
    def of_block(cls, block: Block, messages: Sequence[Message], intervals: Intervals) -> MeterLog:
        """Return the rows of a block of `messages`, all of which are admitted, by the one facility in force in it."""
        meter, time, phase = (block.column(name).astype(np.int64) for name in ("meter", "time", "phase"))
        values = (quantized(METER, block, name, null=NULL) for name in QUANTA)
        hold = holds(meter, block.filled("interval_seconds", 0), intervals)
        return cls._make((meter, time, phase, *values, hold, *placed(block, messages)))

    def pick(self, chosen: Bools | Int64s) -> MeterLog:
        """Return the rows that a mask or an index chooses."""
        return MeterLog._make(column[chosen] for column in self)

    def where(self, chosen: Bools) -> MeterLog:
        """Return the rows that a mask chooses, without a copy where it chooses all."""
        return self if chosen.all() else self.pick(chosen)

    def part(self, start: int, end: int) -> MeterLog:
        """Return the rows `[start, end)`."""
        return MeterLog._make(column[start:end] for column in self)


def holds(meter: Int64s, interval: NDArray[np.floating], intervals: Intervals) -> Int64s:
    """Return for how long each reading holds, µs; NULL where its meter is not among those of `intervals`.

    `interval`: what the source itself says, s; where it says nothing (0) the registry's counts.
    """
    registered = intervals.of(meter)
    seconds = np.where(interval > 0, interval.astype(np.float64), registered)
    hold = np.ceil(seconds * (HOLD_INTERVALS * SECOND)).clip(1, MAX_HOLD_MICROSECONDS)
    return np.where(registered > 0, hold, NULL).astype(np.int64)
