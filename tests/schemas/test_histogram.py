"""Bins of a histogram: every value lies in one, each is as narrow as it says, and they follow each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.histogram import Metric, bounds, power_bin, power_bounds, temperature_bin, utilization_bin

LARGEST = 2**44
"""1.7 TW in 0.1 W."""


@given(st.integers(-LARGEST, LARGEST))
def test_a_power_lies_within_the_bounds_of_its_bin(deciwatts: int) -> None:
    low, high = power_bounds(power_bin(np.array([deciwatts])))
    assert low[0] <= deciwatts / 10 < high[0]


@given(st.integers(64, LARGEST))
def test_a_bin_of_power_is_at_most_a_64th_of_its_value_wide(deciwatts: int) -> None:
    low, high = power_bounds(power_bin(np.array([deciwatts])))
    assert (high[0] - low[0]) <= low[0] / 64


def test_bins_of_power_follow_each_other_without_a_gap() -> None:
    low, high = power_bounds(np.arange(-2_400, 2_400))
    assert np.array_equal(high[:-1], low[1:])


def test_bins_of_power_keep_the_order_of_the_powers_and_fit_into_16_bits() -> None:
    powers = np.unique(np.concatenate([[0, LARGEST], *(2**k + np.arange(-2, 3) for k in range(44))]))
    bins = power_bin(powers)
    assert np.all(np.diff(bins) >= 0)
    assert bins.max() < 2**15


@pytest.mark.parametrize(
    ("metric", "number", "low", "high"),
    [
        (Metric.GPU_UTILIZATION_FRACTION, utilization_bin(np.array([9_999])), 0.99, 1.0),
        (Metric.GPU_UTILIZATION_FRACTION, utilization_bin(np.array([10_000])), 1.0, 1.01),
        (Metric.GPU_TEMPERATURE_CELSIUS, temperature_bin(np.array([-1])), -1.0, 0.0),
        (Metric.GPU_TEMPERATURE_CELSIUS, temperature_bin(np.array([659])), 65.0, 66.0),
        (Metric.POWER_WATTS, power_bin(np.array([7_000])), 697.6, 704.0),
    ],
)
def test_bounds_are_in_the_unit_of_the_metric(metric: Metric, number: np.ndarray, low: float, high: float) -> None:
    found = bounds(metric, number)
    assert (found[0][0], found[1][0]) == (low, high)
