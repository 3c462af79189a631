"""The order of rows in a file: which hour they belong to, and within it the order of their devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sinks.lake.tables import MIXED_HOUR, Table

HOUR_MICROSECONDS = 3_600_000_000
_PACKED_BITS = 63
LOG_ORDER = ("_partition", "_offset", "_row")
"""Where a table's own order leaves rows equal, they lie as in the log, in whatever order a flush took them in."""

Integers = np.ndarray[tuple[int], np.dtype[np.int64]]


def by_hour(rows: pa.Table, table: Table, max_hours: int) -> Iterator[tuple[str, pa.Table]]:
    """Yield (hour, rows of that hour in the table's order), at most `max_hours` of them.

    `hour` is UTC as text, `2026-03-01T13`. Where there are more hours, the rows of the smallest ones
    come together under `mixed`, so that a few stray times never make thousands of files.
    """
    if not rows.num_rows:
        return
    hours = integers(rows.column(table.hour_of)) // HOUR_MICROSECONDS
    by = (*table.sort, *LOG_ORDER)
    if (first := hours.min()) == hours.max():  # the rule when live, and np.unique would sort
        yield hour_text(first), in_order(rows, by)
        return
    distinct, index, counts = np.unique(hours, return_inverse=True, return_counts=True)
    for group, members in _groups(index, counts, max_hours):
        hour = MIXED_HOUR if group is None else hour_text(distinct[group])
        yield hour, in_order(_take(rows, members), by)


def hour_text(hour: int) -> str:
    """Return hours since 1970 as `2026-03-01T13`."""
    return str(np.datetime64(int(hour), "h"))


def in_order(rows: pa.Table, sort: Sequence[str]) -> pa.Table:
    """Return the rows sorted by integer columns, stably: equal keys stay in the order of the log."""
    key = packed_key([integers(rows.column(name)) for name in sort])
    if np.all(key[1:] >= key[:-1]):
        return rows
    return _take(rows, np.argsort(key, kind="stable"))


def packed_key(columns: Sequence[Integers]) -> Integers:
    """Return one integer a row that orders rows as the columns do from left to right.

    A packed key costs a quarter of a sort by several columns. Where the ranges together are too wide for 63 bits
    (ids of unregistered paths are hashes), ranks stand for what is too wide: there are no more of them than rows.
    """
    key, used = np.zeros(len(columns[0]), dtype=np.int64), 0
    for column in columns:
        (packed, had), (added, width) = (key, used), _from_zero(column)
        if had + width > _PACKED_BITS:
            (packed, had), (added, width) = _from_zero(_ranks(key)), _from_zero(_ranks(column))
        key, used = (packed << width) | added, had + width
    return key


def _from_zero(column: Integers) -> tuple[Integers, int]:
    """Return the column less its least value, and how many bits that takes."""
    if not len(column):
        return column, 0
    low = int(column.min())
    return column - low, (int(column.max()) - low).bit_length()


def _ranks(column: Integers) -> Integers:
    return np.unique(column, return_inverse=True)[1].astype(np.int64)


def _take(rows: pa.Table, order: Integers) -> pa.Table:
    """Return rows by number; a column of nulls alone, as many are, costs nothing."""
    indices = pa.array(order)
    columns = [
        column.slice(0, len(order)) if column.null_count == rows.num_rows else column.take(indices)
        for column in rows.columns
    ]
    return pa.table(columns, schema=rows.schema)


def _groups(index: Integers, counts: Integers, max_hours: int) -> Iterator[tuple[int | None, Integers]]:
    """Yield (number of the hour or None for the mixed, row numbers in log order)."""
    largest = np.argsort(-counts, kind="stable")
    alone = largest if len(counts) <= max_hours else largest[: max_hours - 1]
    is_alone = np.zeros(len(counts), dtype=bool)
    is_alone[alone] = True
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(counts)
    for hour in np.flatnonzero(is_alone):
        yield int(hour), order[ends[hour] - counts[hour] : ends[hour]]
    mixed = np.flatnonzero(~is_alone[index])
    if len(mixed):
        yield None, mixed


def integers(column: pa.ChunkedArray) -> Integers:
    """Return an integer column, times as microseconds, as int64; null is the least of all."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if column.null_count:
        column = pc.fill_null(column.cast(pa.int64()), np.iinfo(np.int64).min)
    values: Integers = column.to_numpy().astype(np.int64, copy=False)
    return values
