"""From messages of `telemetry.gpu.v1` to admitted rows as arrays: by the block where all is good, else row by row.

Both ways give the same rows: the block's way is taken only where every row of it would be admitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.admission import Clock
from schemas.block_admission import admits_all
from schemas.blocks import Block, blocks_of
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.message import Message
from schemas.rejected import REJECTED
from schemas.rejection import with_raw
from schemas.timeline import Timeline, admit_in_force
from schemas.topics import BY_NAME
from streams.closing import SECOND, Messages
from streams.gpu_rows import GpuRows
from streams.gpu_slots import GpuSlots
from streams.in_force import InForce
from streams.lists import is_in_log_order

GPU_TOPIC = "telemetry.gpu.v1"
Int64s = NDArray[np.int64]


class GpuIntake(NamedTuple):
    """Admitted rows of a drain in log order by partition; `partition` is that of each message that brought any."""

    rows: GpuRows
    messages: Messages
    partition: Int64s

    @classmethod
    def of(cls, rows: pl.DataFrame, in_force: InForce) -> GpuIntake:
        """Convert admitted rows; frame in: GPU's columns, the integers of admission, `_partition`, `_offset`."""
        partition, offset = rows["_partition"].to_numpy(), rows["_offset"].to_numpy()
        changes = (offset[1:] != offset[:-1]) | (partition[1:] != partition[:-1])
        starts = np.append(0, np.flatnonzero(changes) + 1)[: len(rows)]
        return _in_log_order(
            GpuRows.in_force(rows, in_force), starts, partition[starts].astype(np.int64), offset[starts]
        )

    def by_partition(self) -> Iterable[tuple[int, GpuRows, Messages]]:
        """Yield the rows and messages of each partition."""
        starts = np.flatnonzero(np.diff(self.partition, prepend=-1))
        for first, end in pairwise([*starts.tolist(), len(self.partition)]):
            low, high = int(self.messages.rows[first]), int(self.messages.rows[end])
            rows, offset, oldest, newest = self.messages
            messages = Messages(rows[first : end + 1] - low, offset[first:end], oldest[first:end], newest[first:end])
            yield int(self.partition[first]), self.rows.part(low, high), messages


def take_in(
    messages: Sequence[Message], timeline: Timeline, in_force: InForce, clock: Clock
) -> tuple[GpuIntake, pl.DataFrame]:
    """Decode and admit messages; return their rows and the refusals (frame of REJECTED). Pure."""
    blocks, others = blocks_of(GPU, messages, BY_NAME[GPU_TOPIC].max_decoded_bytes)
    good: list[tuple[Block, GpuSlots]] = []
    for block in blocks:
        if (slots := _slots_of(block, messages, timeline, in_force, clock)) is not None:
            good.append((block, slots))
        else:
            others.extend(block.messages)
    if good and not others:
        return _of_blocks(good, messages), REJECTED.empty()
    rest, refused = _row_by_row([messages[index] for index in sorted(others)], timeline, in_force, clock)
    return (_joined(_of_blocks(good, messages), rest) if good else rest), refused


def _slots_of(
    block: Block, messages: Sequence[Message], timeline: Timeline, in_force: InForce, clock: Clock
) -> GpuSlots | None:
    """Return the GPUs in force in a block; None where the facility changes within it, or a row may not pass."""
    time = block.column("time")
    first, end = int(time.min()), int(time.max()) + 1
    epochs, standings = timeline.between(first, end), in_force.between(first // SECOND, (end - 1) // SECOND + 1)
    if len(epochs) > 1 or len(standings) > 1:
        return None
    return standings[0].slots if admits_all(GPU, block, messages, epochs[0].registry, clock=clock) else None


def _row_by_row(
    messages: Sequence[Message], timeline: Timeline, in_force: InForce, clock: Clock
) -> tuple[GpuIntake, pl.DataFrame]:
    decoded = decode(GPU_TOPIC, messages, timeline.places)
    admitted = admit_in_force(GPU, decoded.frame, timeline, clock=clock)
    return GpuIntake.of(admitted.rows, in_force), with_raw((decoded.refused, admitted.refused), messages)


def _of_blocks(blocks: Sequence[tuple[Block, GpuSlots]], messages: Sequence[Message]) -> GpuIntake:
    rows = GpuRows.joined([GpuRows.of_block(block, slots) for block, slots in blocks])
    own = [messages[index] for block, _ in blocks for index in block.messages]
    counts = np.concatenate([block.counts for block, _ in blocks])
    partition = np.array([message.partition for message in own], np.int64)
    offset = np.array([message.offset for message in own], np.int64)
    return _in_log_order(rows, np.cumsum(counts) - counts, partition, offset)


def _joined(one: GpuIntake, other: GpuIntake) -> GpuIntake:
    starts = np.concatenate((one.messages.rows[:-1], other.messages.rows[:-1] + len(one.rows.second)))
    partition = np.concatenate((one.partition, other.partition))
    offset = np.concatenate((one.messages.offset, other.messages.offset))
    return _in_log_order(GpuRows.joined((one.rows, other.rows)), starts, partition, offset)


def _in_log_order(rows: GpuRows, starts: Int64s, partition: Int64s, offset: Int64s) -> GpuIntake:
    """Return rows of messages that begin at `starts` in the order of their messages."""
    ends = np.append(starts[1:], len(rows.second))[: len(starts)]
    if not is_in_log_order(partition, offset):
        order = np.lexsort((offset, partition))
        first, counts = starts[order], (ends - starts)[order]
        starts = np.cumsum(counts) - counts
        rows = rows.where(np.repeat(first - starts, counts) + np.arange(len(rows.second)))
        partition, offset = partition[order], offset[order]
    bounds = np.append(starts, len(rows.second))
    if not len(starts):
        return GpuIntake(rows, Messages(bounds, offset, starts, starts), partition)
    time = rows.time
    oldest, newest = np.minimum.reduceat(time, starts), np.maximum.reduceat(time, starts)
    return GpuIntake(rows, Messages(bounds, offset, oldest, newest), partition)
