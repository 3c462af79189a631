"""The layout of a record batch: where each column lies in its body, by what the batch says of itself, read strictly."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.arrow_stream import field_at, read_batch_head
from schemas.column import Record

NONE, SOME, ALL = 0, 1, 2
"""How many values of a column are null."""

_NODES, _BUFFERS, _COMPRESSION = 1, 2, 3
_UNSIGNED = struct.Struct("<I")
_PAIR = struct.Struct("<qq")


class Place(NamedTuple):
    """Say where one column's values and validity bits begin in a body, how many of its values are null, and what kind.

    There are no validity bits where nothing is null.
    """

    values: int
    validity: int
    nulls: int
    kind: int
    dtype: np.dtype[Any]


class Layout(NamedTuple):
    """Say how many rows a batch has, how long its body is, and where its columns lie, in the record's order."""

    rows: int
    body: int
    places: dict[str, Place]
    kinds: tuple[int, ...]
    """Whether NONE, SOME or ALL of each column's values are null."""


def read_layout(record: Record, head: bytes) -> Layout | None:
    """Return the layout that `head`, the whole metadata message of a batch, declares; None where it is not plain.

    Plain is: uncompressed, one node and two buffers a column, the buffers one after the other as every writer lays
    them, each long enough. Nothing raises.
    """
    try:
        return _read(record, head)
    except (struct.error, IndexError, ValueError):
        return None


def _read(record: Record, head: bytes) -> Layout | None:
    found = read_batch_head(head, 0)
    if found is None or found.is_compressed or found.rows <= 0:
        return None
    body = found.end - len(head)
    (root,) = _UNSIGNED.unpack_from(head, 8)
    message = 8 + root
    at = field_at(head, message, 2)
    batch = at + _UNSIGNED.unpack_from(head, at)[0]
    nodes, buffers = _pairs(head, batch, _NODES), _pairs(head, batch, _BUFFERS)
    dtypes = dtypes_of(record)
    if len(nodes) != len(dtypes) or len(buffers) != 2 * len(dtypes) or not _follow_each_other(buffers, body):
        return None
    places = {}
    for number, (name, dtype) in enumerate(dtypes.items()):
        (length, nulls), bits, values = nodes[number], buffers[2 * number], buffers[2 * number + 1]
        kind = NONE if nulls == 0 else ALL if nulls == length else SOME
        is_long_enough = values[1] >= found.rows * dtype.itemsize
        is_long_enough &= kind == NONE or bits[1] >= (found.rows + 7) // 8
        if length != found.rows or not 0 <= nulls <= length or not is_long_enough:
            return None
        places[name] = Place(values[0], bits[0], nulls, kind, dtype)
    return Layout(found.rows, body, places, tuple(place.kind for place in places.values()))


@cache
def dtypes_of(record: Record) -> dict[str, np.dtype[Any]]:
    """Return the numpy types of a record's columns, all of fixed width; times as integers."""
    return {
        column.name: np.dtype("i8" if pa.types.is_timestamp(column.dtype) else column.dtype.to_pandas_dtype())
        for column in record.columns
    }


def _pairs(head: bytes, batch: int, field: int) -> list[tuple[int, int]]:
    """Return the entries of a vector of structs of two longs: nodes (length, nulls) or buffers (offset, length)."""
    at = field_at(head, batch, field)
    vector = at + _UNSIGNED.unpack_from(head, at)[0]
    (count,) = _UNSIGNED.unpack_from(head, vector)
    if vector + 4 + 16 * count > len(head):
        raise ValueError("a vector is longer than its message")
    return list(_PAIR.iter_unpack(head[vector + 4 : vector + 4 + 16 * count]))


def _follow_each_other(buffers: list[tuple[int, int]], body: int) -> bool:
    """Tell whether buffers lie in their order, aligned, none over another and none past the body's end."""
    at = 0
    for offset, length in buffers:
        if length < 0 or offset % 8 or offset < at:
            return False
        at = offset + length
    return at <= body and body % 8 == 0
