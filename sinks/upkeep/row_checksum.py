"""A checksum of rows in any order: it binds every value to its column and to the row's place in the log."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sinks.lake.identity import PLACE_ORDER

Hashes = NDArray[np.uint64]
_MASK = (1 << 64) - 1


class Checksum(NamedTuple):
    """Count rows, and sum mod 2⁶⁴ the hash of each row's place times each of its values."""

    rows: int = 0
    value: int = 0

    def plus(self, other: Checksum) -> Checksum:
        """Return the checksum of these rows and those."""
        return Checksum(self.rows + other.rows, (self.value + other.value) & _MASK)


def checksum(rows: pa.Table) -> Checksum:
    """Return the checksum of rows; that of parts adds up to that of the whole, in any order. Pure."""
    total = Checksum()
    for batch in rows.to_batches():
        total = total.plus(Checksum(batch.num_rows, _of_batch(batch)))
    return total


def _of_batch(batch: pa.RecordBatch) -> int:
    place = _hashes([_numbers(batch.column(name), None) for name in PLACE_ORDER])
    names = (name for name in batch.schema.names if name not in PLACE_ORDER)
    return (_sum(place) + sum(_of_array(batch.column(name), place, _salt(name)) for name in names)) & _MASK


def _of_array(array: pa.Array, place: Hashes, salt: int) -> int:
    """Return Σ hash times value of one column; nested ones by their parts, nulls by the hash alone."""
    if array.null_count == len(array):
        return salt * _sum(place) & _MASK
    is_null = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    missing = salt * _sum(place[is_null]) if is_null is not None else 0
    if pa.types.is_list(array.type):
        return missing + _of_list(array, place, salt) & _MASK
    if pa.types.is_struct(array.type):
        fields = range(array.type.num_fields)
        return missing + sum(
            _of_array(pc.struct_field(array, [number]), place, salt + 2 * number + 2) for number in fields
        )
    odd = salt | 1
    return missing + odd * int(np.dot(place, _numbers(array, is_null))) & _MASK


def _of_list(array: pa.Array, place: Hashes, salt: int) -> int:
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype(np.int64)
    parent = np.repeat(place, lengths)
    number = np.arange(len(parent)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    inner = _hashes([parent, number.astype(np.uint64)])
    return (salt | 1) * int(np.dot(place, lengths.astype(np.uint64))) + _of_array(
        pc.list_flatten(array), inner, salt + 1
    )


def _numbers(array: pa.Array, is_null: NDArray[np.bool_] | None) -> Hashes:
    """Return a value's bits as a number, 0 for a null; of text and bytes a hash."""
    if pa.types.is_primitive(array.type) and not pa.types.is_boolean(array.type):
        bits = np.dtype(f"i{array.type.bit_width // 8}")
        held = np.frombuffer(array.buffers()[1], bits)[array.offset : array.offset + len(array)]
        numbers = held.astype(np.uint64)
    else:
        numbers = pl.Series(array).hash(seed=7).to_numpy()
    return numbers if is_null is None else np.where(is_null, np.uint64(0), numbers)


def _hashes(columns: list[Hashes]) -> Hashes:
    """Return one well mixed number a row (the finalizer of splitmix64)."""
    mixed = np.full(len(columns[0]), 0x9E3779B97F4A7C15, np.uint64)  # no place counts for nothing, the first neither
    for column in columns:
        mixed += column
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(30)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(27)
    return mixed


def _sum(hashes: Hashes) -> int:
    return int(hashes.sum(dtype=np.uint64))


def _salt(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:7], "big")
