"""Verdicts are strict at the threshold, honest about silence, and runs never hide a crossing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.condition import BAND, BREACH, CLEAR, UNSURE, Series, cut, first_at_or_after, judge


def verdict(value: float, high: float, *, above: float, clear: float, is_below: bool = False) -> int:
    columns = [np.array([number]) for number in (value, high, above, clear)]
    return int(judge(*columns, np.array([is_below]))[0])


@pytest.mark.parametrize(
    ("value", "high", "expected"),
    [
        (6000.0, 6000.0, BAND),  # at the threshold is not above it
        (math.nextafter(6000.0, 7000.0), 6000.1, BREACH),
        (5500.0, 5500.0, CLEAR),  # at the clear threshold is not above it
        (5500.1, 5500.1, BAND),
        (0.0, 0.0, CLEAR),  # zero is a measurement
        (5000.0, 5400.0, CLEAR),  # a silent part that cannot matter
        (5000.0, 5800.0, BAND),
        (5000.0, 6500.0, UNSURE),
        (5000.0, math.inf, UNSURE),
        (6100.0, math.inf, BREACH),  # what reports is already too much
    ],
)
def test_a_breach_is_proven_and_all_clear_is_proven(value: float, high: float, expected: int) -> None:
    assert verdict(value, high, above=6000.0, clear=5500.0) == expected


@pytest.mark.parametrize(
    ("value", "high", "expected"),
    [
        (99.0, 99.0, BREACH),
        (100.0, 100.0, BAND),
        (120.0, 120.0, CLEAR),
        (99.0, math.inf, UNSURE),
        (130.0, math.inf, CLEAR),
    ],
)
def test_below_is_the_mirror_of_above(value: float, high: float, expected: int) -> None:
    assert verdict(value, high, above=100.0, clear=120.0, is_below=True) == expected


SERIES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 50), st.sampled_from([CLEAR, BAND, UNSURE, BREACH])), max_size=40
)


@given(SERIES, st.integers(0, 20))
def test_runs_cover_the_series_and_change_exactly_where_it_changes(
    evaluations: list[tuple[int, int, int]], gap: int
) -> None:
    evaluations.sort(key=lambda each: each[:2])
    columns = list(zip(*evaluations, strict=True)) or [(), (), ()]
    row, at, verdicts = (np.array(column, dtype=np.int64) for column in columns)
    series = Series(row, at, at.astype(float), verdicts.astype(np.int8))
    runs = cut(series, np.full(4, gap, dtype=np.int64))
    covered = [i for first, last in zip(runs.first, runs.last, strict=True) for i in range(first, last + 1)]
    assert covered == list(range(len(row)))
    for index, (first, last) in enumerate(zip(runs.first, runs.last, strict=True)):
        assert len({(int(row[i]), int(verdicts[i])) for i in range(first, last + 1)}) == 1
        assert all(at[i + 1] - at[i] <= gap for i in range(first, last))
        assert runs.rank[index] == sum(runs.row[:index] == runs.row[index])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.integers(-5, 35))
def test_the_first_instant_at_or_after_is_found(times: list[int], target: int) -> None:
    at = np.array(sorted(times), dtype=np.int64)
    found = first_at_or_after(at, np.array([0]), np.array([len(at) - 1]), np.array([target]))[0]
    assert found == next((index for index, time in enumerate(at) if time >= target), len(at))
