"""From messages of `telemetry.power.v1` to admitted rows as arrays: by the block where all is good, else row by row.

A drain has some hundred rows, and each of a dozen polars calls costs as much as all that is done with them here.
Both ways give the same rows: the block's way is taken only where every row of it would be admitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from schemas import canary
from schemas.admission import Clock
from schemas.block_admission import admits_all
from schemas.blocks import Block, blocks_of
from schemas.decode import decode
from schemas.message import Message
from schemas.meter import METER
from schemas.rejected import REJECTED
from schemas.rejection import with_raw
from schemas.timeline import Timeline, admit_in_force
from schemas.topics import BY_NAME
from streams.closing import SECOND
from streams.in_force import InForce, Intervals
from streams.meter_log import MeterLog
from streams.meter_rows import MeterRows, Rows, in_log_order

POWER_TOPIC = "telemetry.power.v1"


def admitted(messages: Sequence[Message], timeline: Timeline, clock: Clock) -> MeterRows:
    """Decode messages; return the rows that are admitted, in log order by partition. Pure.

    What is not, roll up refuses: nothing is said of it here.
    """
    parts, others = _parts(messages, timeline, clock, lambda block: MeterRows.of_block(block, messages))
    if others or not parts:
        rows, _ = _row_by_row([messages[index] for index in others], timeline, clock)
        parts.append(MeterRows.of(rows))
    return in_log_order(parts)


def take_in(
    messages: Sequence[Message], timeline: Timeline, in_force: InForce, clock: Clock
) -> tuple[MeterLog, pl.DataFrame]:
    """Decode and admit messages; return their rows without the canary's and the refusals (frame of REJECTED). Pure."""

    def of_block(block: Block) -> MeterLog | None:
        intervals = _intervals(block, in_force)
        return None if intervals is None else MeterLog.of_block(block, messages, intervals)

    refused = REJECTED.empty()
    parts, others = _parts(messages, timeline, clock, of_block)
    if others or not parts:
        rows, refused = _row_by_row([messages[index] for index in others], timeline, clock)
        parts.append(MeterLog.of(rows, in_force))
    log = in_log_order(parts)
    return log.where(log.meter != canary.METER_ID), refused


def _parts(
    messages: Sequence[Message], timeline: Timeline, clock: Clock, of_block: Callable[[Block], Rows | None]
) -> tuple[list[Rows], list[int]]:
    """Return the rows of blocks of which every row is admitted, and the indexes of all other messages."""
    blocks, others = blocks_of(METER, messages, BY_NAME[POWER_TOPIC].max_decoded_bytes)
    parts: list[Rows] = []
    for block in blocks:
        rows = of_block(block) if _is_admitted(block, messages, timeline, clock) else None
        if rows is None:
            others.extend(block.messages)
        else:
            parts.append(rows)
    return parts, sorted(others)


def _is_admitted(block: Block, messages: Sequence[Message], timeline: Timeline, clock: Clock) -> bool:
    """Tell whether every row passes; no where the facility changes within the block."""
    time = block.column("time")
    epochs = timeline.between(int(time.min()), int(time.max()) + 1)
    return len(epochs) == 1 and admits_all(METER, block, messages, epochs[0].registry, clock=clock)


def _intervals(block: Block, in_force: InForce) -> Intervals | None:
    """Return the meters in force in a block; None where they change within it."""
    second = block.column("time") // SECOND
    standings = in_force.between(int(second.min()), int(second.max()) + 1)
    return standings[0].intervals if len(standings) == 1 else None


def _row_by_row(messages: Sequence[Message], timeline: Timeline, clock: Clock) -> tuple[pl.DataFrame, pl.DataFrame]:
    decoded = decode(POWER_TOPIC, messages, timeline.places)
    rows, refused = admit_in_force(METER, decoded.frame, timeline, clock=clock)
    return rows, with_raw((decoded.refused, refused), messages)
