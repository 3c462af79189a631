"""Admitted rows of `telemetry.power.v1` as arrays, as reading rules look at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from schemas.blocks import Block
from schemas.message import Message
from streams.condition import Bools, Floats, Ints
from streams.lists import is_in_log_order


class MeterRows(NamedTuple):
    """Hold readings in log order by partition; `time` in UTC µs, NaN where no power or current was reported.

    `interval` in s, 0 where the source does not say it; `is_good` unless the source itself said suspect.
    """

    meter: Ints
    phase: Ints
    time: Ints
    power: Floats
    current: Floats
    interval: Floats
    is_good: Bools
    partition: Ints
    offset: Ints

    @classmethod
    def of(cls, frame: pl.DataFrame) -> MeterRows:
        """Convert admitted rows; frame in: METER's columns, `_partition`, `_offset`."""

        def whole(name: str) -> Ints:
            return frame[name].to_physical().to_numpy().astype(np.int64)

        return cls(
            meter=whole("meter"),
            phase=whole("phase"),
            time=whole("time"),
            power=frame["power_watts"].to_numpy(),
            current=frame["current_amps"].to_numpy(),
            interval=frame["interval_seconds"].fill_null(0.0).to_numpy().astype(np.float64),
            is_good=(frame["quality"].fill_null(0) == 0).to_numpy(),
            partition=whole("_partition"),
            offset=whole("_offset"),
        )

    @classmethod
    def of_block(cls, block: Block, messages: Sequence[Message]) -> MeterRows:
        """Return the rows of a block of `messages`, all of which are admitted."""

        def whole(name: str) -> Ints:
            return block.column(name).astype(np.int64)

        def said(name: str) -> Floats:
            return np.where(block.is_there(name), block.column(name), np.nan)

        def place(of_message: list[int]) -> Ints:
            return np.repeat(np.array(of_message, np.int64), block.counts)

        return cls(
            meter=whole("meter"),
            phase=whole("phase"),
            time=whole("time"),
            power=said("power_watts"),
            current=said("current_amps"),
            interval=block.filled("interval_seconds", 0).astype(np.float64),
            is_good=block.filled("quality", 0) == 0,
            partition=place([messages[index].partition for index in block.messages]),
            offset=place([messages[index].offset for index in block.messages]),
        )

    def pick(self, chosen: Bools | Ints) -> MeterRows:
        """Return the rows that a mask or an index chooses."""
        return MeterRows._make(column[chosen] for column in self)

    @classmethod
    def joined(cls, parts: Sequence[MeterRows]) -> MeterRows:
        """Return the rows of some parts in log order by partition; of one message in the order in which they came."""
        rows = parts[0] if len(parts) == 1 else cls._make(map(np.concatenate, zip(*parts, strict=True)))
        if is_in_log_order(rows.partition, rows.offset):
            return rows
        return rows.pick(np.lexsort((rows.offset, rows.partition)))
