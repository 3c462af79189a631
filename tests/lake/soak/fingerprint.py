"""A number for the rows that one message brings to a table, made from what was sent and from what the lake holds.

Each row becomes 64 bits that depend on every column and on its place in the message; a message's is their sum.
Neither side uses the product's code for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

Words = np.ndarray[tuple[int], np.dtype[np.uint64]]

BY_MESSAGE = {"partition": pl.Int32, "offset": pl.Int64, "rows": pl.Int64, "fingerprint": pl.UInt64}


def of_row_words(columns: Sequence[Words]) -> Words:
    """Return 64 bits for each row of columns of 64 bits."""
    mixed = np.full(len(columns[0]), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column in columns:
        mixed = _mixed(mixed ^ column)
    return mixed


def integers(values: Iterable[int]) -> Words:
    """Return integers as words."""
    return np.asarray(list(values), dtype=np.int64).view(np.uint64)


def bytes_words(values: Iterable[bytes]) -> Words:
    """Return a checksum of each value as a word."""
    return integers(zlib.crc32(value) for value in values)


def floats(values: Iterable[float]) -> Words:
    """Return the bits of floats as words."""
    return np.asarray(list(values), dtype=np.float64).view(np.uint64)


def of_message(columns: Sequence[Words]) -> int:
    """Return the fingerprint of one message from the columns of its rows."""
    with np.errstate(over="ignore"):
        return int(of_row_words(columns).sum(dtype=np.uint64))


def by_message(partitions: pl.Series, offsets: pl.Series, columns: Sequence[Words]) -> pl.DataFrame:
    """Return each message of a table's rows, of which there are some, with the columns of BY_MESSAGE."""
    words, at, number = of_row_words(columns), partitions.to_numpy(), offsets.to_numpy()
    order = np.lexsort((number, at))
    at, number, words = at[order], number[order], words[order]
    starts = np.flatnonzero(np.append(True, (at[1:] != at[:-1]) | (number[1:] != number[:-1])))
    with np.errstate(over="ignore"):
        sums = np.add.reduceat(words, starts)
    counts = np.diff(np.append(starts, len(words)))
    found = {"partition": at[starts], "offset": number[starts], "rows": counts, "fingerprint": sums}
    return pl.DataFrame(found, schema=BY_MESSAGE)


def _mixed(word: Words) -> Words:
    """Mix the bits of each word (splitmix64)."""
    with np.errstate(over="ignore"):
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return word ^ (word >> np.uint64(31))
