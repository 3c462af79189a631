"""Admitted rows of `telemetry.power.v1` as arrays, as reading rules look at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, cast

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

        partition, offset = placed(block, messages)
        return cls(
            meter=whole("meter"),
            phase=whole("phase"),
            time=whole("time"),
            power=said("power_watts"),
            current=said("current_amps"),
            interval=block.filled("interval_seconds", 0).astype(np.float64),
            is_good=block.filled("quality", 0) == 0,
            partition=partition,
            offset=offset,
        )

    def pick(self, chosen: Bools | Ints) -> MeterRows:
        """Return the rows that a mask or an index chooses."""
        return MeterRows._make(column[chosen] for column in self)


Rows = TypeVar("Rows", bound=NamedTuple)


def in_log_order(parts: Sequence[Rows]) -> Rows:
    """Return the rows of some parts in log order by partition; of one message in the order in which they came.

    Rows are columns side by side, among them `partition` and `offset`.
    """
    rows: Any = parts[0]
    if len(parts) > 1:
        rows = rows._make(map(np.concatenate, zip(*parts, strict=True)))
    if not is_in_log_order(rows.partition, rows.offset):
        rows = rows.pick(np.lexsort((rows.offset, rows.partition)))
    return cast(Rows, rows)


def placed(block: Block, messages: Sequence[Message]) -> tuple[Ints, Ints]:
    """Return partition and offset of each row of a block of `messages`."""
    own = [messages[index] for index in block.messages]
    partition, offset = np.array([(message.partition, message.offset) for message in own], np.int64).T
    return np.repeat(partition, block.counts), np.repeat(offset, block.counts)
