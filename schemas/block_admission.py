"""Admission of whole blocks: whether every row of a block passes, by the smallest and greatest value of each column.

It says yes only where schemas.admission would admit every row; on any doubt the rows are admitted one by one there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.admission import QUANTIZED, Clock, Quantum
from schemas.admission_rules import CLOCK_AHEAD_SECS, EARLIEST, LATEST
from schemas.arrow_layout import ALL, NONE, SOME, dtypes_of
from schemas.blocks import Block
from schemas.column import TIME, Record
from schemas.message import Message
from schemas.nameplates import Ceilings, Nameplates, ceilings

Ints = NDArray[np.int64]


class _Range(NamedTuple):
    """Say what a column allows; `low` and `high` are None where every value of its type is good."""

    name: str
    is_required: bool
    low: float | None
    high: float | None


def admits_all(
    record: Record, block: Block, messages: Sequence[Message], registry: Nameplates | None, *, clock: Clock
) -> bool:
    """Tell whether admission would admit every row of a block of `messages`. Pure."""
    if not all(block.says_its_nulls(column.name) for column in record.columns):
        return False
    if not all(_is_good(block, each) for each in _ranges(record)):
        return False
    limit = ceilings(record, registry)
    if limit is not None and _is_exceeded(limit, block):
        return False
    return clock == "event" or _is_not_ahead(block, messages)


def quantized(record: Record, block: Block, name: str, *, null: int) -> NDArray[Any]:
    """Return one of the integers that admission adds, as schemas.admission.quantize makes it; `null` where none is."""
    quantum, dtype = _quanta(record)[name]
    values = block.filled(quantum.source, 0).astype(np.float64)
    if quantum.scale != 1:
        values *= quantum.scale
    integers: NDArray[Any] = np.rint(values, out=values).astype(dtype)
    if block.nulls(quantum.source) != NONE:
        integers[~block.is_there(quantum.source)] = null
    return integers


@cache
def _quanta(record: Record) -> dict[str, tuple[Quantum, np.dtype[Any]]]:
    return {each.name: (each, pl.Series(dtype=each.dtype).to_numpy().dtype) for each in QUANTIZED.get(record.name, ())}


@cache
def _ranges(record: Record) -> tuple[_Range, ...]:
    ranges = []
    for column in record.columns:
        low, high = column.low, column.high
        if column.dtype == TIME:
            low, high = EARLIEST, LATEST - 1
        elif dtypes_of(record)[column.name].kind == "f":  # NaN and infinities lie within no bounds
            limits = np.finfo(dtypes_of(record)[column.name])
            low, high = float(limits.min) if low is None else low, float(limits.max) if high is None else high
        ranges.append(_Range(column.name, column.is_required, low, high))
    return tuple(each for each in ranges if each.is_required or each.low is not None or each.high is not None)


def _is_good(block: Block, of: _Range) -> bool:
    if of.is_required and block.nulls(of.name) != NONE:
        return False
    if of.low is None and of.high is None:
        return True
    return _lies_between(_present(block, of.name), of.low, of.high)


def _present(block: Block, name: str) -> NDArray[Any]:
    """Return the values that are not null."""
    if block.nulls(name) == ALL:
        return np.empty(0)
    values = block.column(name)
    return values[block.is_there(name)] if block.nulls(name) == SOME else values


def _is_exceeded(limit: Ceilings, block: Block) -> bool:
    """Tell whether any reading lies above the ceiling of its own device; ids are never null."""
    watts = _present(block, "power_watts")
    if _lies_between(watts, None, limit.lowest):
        return False
    there = block.is_there("power_watts")
    return bool((watts > limit.at([block.column(name)[there] for name in limit.columns])).any())


def _lies_between(values: NDArray[Any], low: float | None, high: float | None) -> bool:
    if not len(values):
        return True
    if low == 0 and high is not None:
        # As unsigned words what is negative, infinite or NaN is greater than any bound: one look is enough.
        words = np.dtype(f"u{values.dtype.itemsize}")
        return bool(values.view(words).max() <= np.array([high], values.dtype).view(words)[0])
    return bool((low is None or values.min() >= low) and (high is None or values.max() <= high))


def _is_not_ahead(block: Block, messages: Sequence[Message]) -> bool:
    newest = np.maximum.reduceat(block.column("time"), block.starts)
    appended = np.array([messages[index].appended for index in block.messages])
    return bool(np.all(newest - appended <= CLOCK_AHEAD_SECS * 1_000_000))
