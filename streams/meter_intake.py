"""From messages of `telemetry.power.v1` to admitted rows as arrays: by the block where all is good, else row by row.

A drain has some hundred rows, and each of a dozen polars calls costs as much as all that is done with them here.
Both ways give the same rows: the block's way is taken only where every row of it would be admitted.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.admission import Clock
from schemas.block_admission import admits_all
from schemas.blocks import Block, blocks_of
from schemas.decode import decode
from schemas.message import Message
from schemas.meter import METER
from schemas.timeline import Timeline, admit_in_force
from schemas.topics import BY_NAME
from streams.meter_rows import MeterRows

POWER_TOPIC = "telemetry.power.v1"


def admitted(messages: Sequence[Message], timeline: Timeline, clock: Clock) -> MeterRows:
    """Decode messages; return the rows that are admitted, in log order by partition. Pure.

    What is not, roll up refuses: nothing is said of it here.
    """
    blocks, others = blocks_of(METER, messages, BY_NAME[POWER_TOPIC].max_decoded_bytes)
    parts = []
    for block in blocks:
        if _is_admitted(block, messages, timeline, clock):
            parts.append(MeterRows.of_block(block, messages))
        else:
            others.extend(block.messages)
    if others or not parts:
        parts.append(_row_by_row([messages[index] for index in sorted(others)], timeline, clock))
    return MeterRows.joined(parts)


def _is_admitted(block: Block, messages: Sequence[Message], timeline: Timeline, clock: Clock) -> bool:
    """Tell whether every row passes; no where the facility changes within the block."""
    time = block.column("time")
    epochs = timeline.between(int(time.min()), int(time.max()) + 1)
    return len(epochs) == 1 and admits_all(METER, block, messages, epochs[0].registry, clock=clock)


def _row_by_row(messages: Sequence[Message], timeline: Timeline, clock: Clock) -> MeterRows:
    decoded = decode(POWER_TOPIC, messages, timeline.places)
    return MeterRows.of(admit_in_force(METER, decoded.frame, timeline, clock=clock).rows)
