"""Judge values against thresholds, and cut a series of judgements into runs.

A value may be incomplete: a part of the subject is silent. Then `value` is what is known to flow and
`high` is what may flow at most, so a breach is what the value proves, and all is well only where
`high` says so. What lies between is never OK and never a breach.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int8]

CLEAR, BAND, UNSURE, BREACH = 0, 1, 2, 3
"""CLEAR: not above the clear threshold · BAND: between the two thresholds · UNSURE: incomplete, a
breach is neither proven nor excluded · BREACH: strictly above the threshold."""


class Series(NamedTuple):
    """Hold the evaluations of many rule rows: flat arrays ordered by (row, at).

    `row` int64 rule row · `at` int64 UTC µs · `value` f64 in the rule's unit · `verdict` int8.
    Nothing known of a subject at a time is no evaluation, and so not in here.
    """

    row: Ints
    at: Ints
    value: Floats
    verdict: Codes


class Runs(NamedTuple):
    """Hold stretches `[first, last]` of a Series with one row, one verdict and no silence inside.

    `rank` counts the runs of a row from 0; rows of equal rank are distinct.
    """

    row: Ints
    verdict: Codes
    first: Ints
    last: Ints
    rank: Ints

    def pick(self, chosen: Ints | Bools) -> Runs:
        """Return the runs that an index or a mask chooses."""
        return Runs(self.row[chosen], self.verdict[chosen], self.first[chosen], self.last[chosen], self.rank[chosen])


def judge(value: Floats, high: Floats, above: Floats, clear: Floats, is_below: Bools) -> Codes:
    """Return the verdict on each value.

    `high` is the most that may be (equal to `value` where all parts reported, +inf where nobody
    knows). `above` and `clear` are thresholds; with `is_below` the breach is strictly below `above`.
    """
    low_side = np.where(is_below, -high, value)
    high_side = np.where(is_below, -value, high)
    threshold, calm = np.where(is_below, -above, above), np.where(is_below, -clear, clear)
    verdict = np.full(len(value), UNSURE, dtype=np.int8)
    verdict[high_side <= threshold] = BAND
    verdict[high_side <= calm] = CLEAR
    verdict[low_side > threshold] = BREACH
    return verdict


def cut(series: Series, silence: Ints) -> Runs:
    """Cut `series` into runs; `silence` is, per rule row, the gap in µs after which a subject counts as silent."""
    if len(series.row) == 0:
        nothing = np.zeros(0, dtype=np.int64)
        return Runs(nothing, nothing.astype(np.int8), nothing, nothing, nothing)
    is_new_row = np.ones(len(series.row), dtype=bool)
    is_new_row[1:] = series.row[1:] != series.row[:-1]
    is_new = is_new_row.copy()
    is_new[1:] |= series.verdict[1:] != series.verdict[:-1]
    is_new[1:] |= np.diff(series.at) > silence[series.row[1:]]
    first = np.flatnonzero(is_new)
    last = np.append(first[1:], len(series.row)) - 1
    nth = np.arange(len(first))
    rank = nth - np.maximum.accumulate(np.where(is_new_row[first], nth, 0))
    return Runs(series.row[first], series.verdict[first], first, last, rank)


def first_at_or_after(at: Ints, first: Ints, last: Ints, target: Ints) -> Ints:
    """Return per stretch `[first, last]` of ascending `at` the first index with `at >= target`; `last + 1` if none."""
    low, high = first.copy(), last + 1
    while (is_open := low < high).any():
        middle = (low + high) // 2
        reaches = at[np.minimum(middle, len(at) - 1)] >= target
        high = np.where(is_open & reaches, middle, high)
        low = np.where(is_open & ~reaches, middle + 1, low)
    return low
