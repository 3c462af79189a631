"""The digest of readings: a 64-bit hash a reading, summed mod 2⁶⁴, so that order and drains do not matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

WORD = 1 << 64
SPREAD = (
    0x9E3779B97F4A7C15,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0xD6E8FEB86659FD93,
    0xA0761D6478BD642F,
    0xE7037ED1A0B428DB,
    0x8EBC6AF09C88C6E3,
    0x589965CC75374CC3,
)
"""Odd constants of SplitMix64 and of the golden ratio: each word of a reading is spread by one of its own."""
_SPREAD = tuple(np.uint64(constant) for constant in SPREAD)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def words(values: NDArray[np.generic]) -> Words:
    """Return signed integers as the 64-bit words that a hash takes; negative ones wrap."""
    return values.astype(np.int64, copy=False).view(np.uint64)


def hashed(*columns: NDArray[np.generic]) -> Words:
    """Return one hash a row of up to eight integer columns; a null must have been given a value of its own."""
    total = words(columns[0]) * _SPREAD[0]
    for column, spread in zip(columns[1:], _SPREAD[1:], strict=False):
        total += words(column) * spread
    return mixed(total)


def mixed(total: Words) -> Words:
    """Return each word with every bit depending on every bit of it; changes `total`."""
    total ^= total >> np.uint64(30)
    total *= _MIX_1
    total ^= total >> np.uint64(27)
    total *= _MIX_2
    total ^= total >> np.uint64(31)
    return total


def summed(hashes: Words, starts: Sequence[int] | NDArray[np.intp], axis: int = 0) -> NDArray[np.int64]:
    """Return Σ mod 2⁶⁴ of each stretch from one start to the next, as signed integers."""
    return np.add.reduceat(hashes, starts, axis=axis).view(np.int64)
