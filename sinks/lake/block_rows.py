"""Rows of telemetry as they lie on disk, straight from blocks of messages: no message is decoded by itself.

What this takes is what schemas.admission would admit whole, and it makes of it what sinks.lake.rows makes row by row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.admission import QUANTIZED, Clock
from schemas.arrow_layout import ALL, NONE
from schemas.block_admission import admits_all, quantized
from schemas.blocks import BYTES_IN_CACHE, Block, blocks_of, in_blocks
from schemas.column import Record
from schemas.message import Message
from schemas.registry import Registry
from schemas.timeline import Timeline
from schemas.topics import BY_NAME as TOPIC_BY_NAME
from sinks.lake.tables import Table, on_disk

LIMIT_SCALE = 10
"""A limit of power lies on disk in tenths of a watt, as power does; no sum needs it, so admission does not round it."""


class _Column(NamedTuple):
    """Hold values of one column and which of them are there; None = all, and anything stands where one is not."""

    values: NDArray[Any]
    is_there: NDArray[np.bool_] | None


def rows_of_blocks(
    table: Table, record: Record, messages: Sequence[Message], timeline: Timeline | None, clock: Clock
) -> tuple[pa.Table, list[Message]]:
    """Return the rows of the messages that are plain and good, in any order, and all other messages. Pure."""
    most = TOPIC_BY_NAME[messages[0].topic].max_decoded_bytes if messages else 0
    found: dict[str, list[_Column]] = defaultdict(list)
    rest: list[Message] = []
    for run in in_blocks(messages, BYTES_IN_CACHE):
        blocks, others = blocks_of(record, run, most)
        for block in blocks:
            if not _is_good(record, block, run, timeline, clock):
                others.extend(block.messages)
                continue
            for field in table.columns:
                found[field.name].append(_column(record, field.name, block, run))
        rest.extend(run[index] for index in sorted(others))
    if not found:
        return table.arrow.empty_table(), rest
    return pa.table([_array(found[each.name], each.type) for each in table.columns], schema=table.arrow), rest


def _is_good(record: Record, block: Block, run: Sequence[Message], timeline: Timeline | None, clock: Clock) -> bool:
    registry: Registry | None = None
    if timeline is not None:
        time = block.column("time")
        epochs = timeline.between(int(time.min()), int(time.max()) + 1)
        if len(epochs) > 1:
            return False
        registry = epochs[0].registry
    return admits_all(record, block, run, registry, clock=clock)


def _column(record: Record, name: str, block: Block, run: Sequence[Message]) -> _Column:
    """Return one column of a table's files."""
    if (place := _place(name, block, run)) is not None:
        return _Column(place, None)
    source = _sources(record).get(name)
    if source is None or block.nulls(source) == ALL:  # a path that nobody registered: native messages carry ids
        return _Column(np.zeros(int(block.counts.sum()), np.int8), np.zeros(int(block.counts.sum()), np.bool_))
    is_there = None if block.nulls(source) == NONE else block.is_there(source)
    if any(each.name == name for each in QUANTIZED[record.name]):
        return _Column(quantized(record, block, name, null=0), is_there)
    if source != name:
        return _Column(np.rint(block.filled(source, 0).astype(np.float64) * LIMIT_SCALE), is_there)
    return _Column(block.column(source), is_there)


@cache
def _sources(record: Record) -> dict[str, str]:
    """Return the column of the record that each column on disk is made of."""
    return {on_disk(record, column.name): column.name for column in record.columns}


def _place(name: str, block: Block, run: Sequence[Message]) -> NDArray[Any] | None:
    """Return a column that says where rows came from; None for another one."""
    if name == "_row":
        return np.arange(int(block.counts.sum())) - np.repeat(block.starts, block.counts)
    if name not in ("_partition", "_offset", "_appended"):
        return None
    return np.repeat([getattr(run[index], name[1:]) for index in block.messages], block.counts)


def _array(parts: Sequence[_Column], dtype: pa.DataType) -> pa.Array:
    """Return columns one after the other; a column of nulls alone has no values."""
    values = np.concatenate([part.values for part in parts])
    if all(part.is_there is None for part in parts):
        return _typed(values, dtype, None)
    there = [np.ones(len(each.values), np.bool_) if each.is_there is None else each.is_there for each in parts]
    is_there = np.concatenate(there)
    return _typed(values, dtype, is_there) if is_there.any() else pa.nulls(len(values), dtype)


def _typed(values: NDArray[Any], dtype: pa.DataType, is_there: NDArray[np.bool_] | None) -> pa.Array:
    kind = np.dtype("i8") if pa.types.is_timestamp(dtype) else np.dtype(dtype.to_pandas_dtype())
    bits = None if is_there is None else pa.py_buffer(np.packbits(is_there, bitorder="little"))
    held = pa.py_buffer(np.ascontiguousarray(values.astype(kind, copy=False)))
    return pa.Array.from_buffers(dtype, len(values), [bits, held])
