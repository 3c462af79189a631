"""How hard simulated jobs work: exact means of steps, checkpoints and days."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sources.simulated.load import CHECKPOINT_LOAD, COMMUNICATION_LOAD, day_demand, pause_share, ramp, training_load


@given(
    period=st.floats(0.5, 60),
    fraction=st.floats(0.05, 0.9),
    first=st.integers(0, 1_000_000),
    seconds=st.integers(1, 50),
)
def test_pauses_of_consecutive_seconds_add_up_to_the_pause_of_the_whole(
    period: float, fraction: float, first: int, seconds: int
) -> None:
    """Whatever the period, no part of a pause is lost or counted twice between seconds."""
    pause, ages = period * fraction, np.arange(first, first + seconds, dtype=float)
    shares = pause_share(ages, np.full(seconds, period), np.full(seconds, pause))
    assert np.all((shares > -1e-6) & (shares < 1 + 1e-6))
    assert abs(shares.sum() - seconds * fraction) <= pause + 1e-3


def test_a_step_ends_with_a_dip_and_a_checkpoint_with_a_deeper_one() -> None:
    ages = np.arange(0.0, 100.0)
    load = training_load(ages, *(np.full(100, value) for value in (10.0, 2.0, 50.0, 5.0)))
    assert load[0] == 1.0
    assert load[8] == load[9] == COMMUNICATION_LOAD
    assert np.allclose(load[45:50], CHECKPOINT_LOAD)
    assert load[50] == 1.0


def test_a_job_warms_up_before_it_works_at_full_load() -> None:
    assert np.all(np.diff(ramp(np.arange(0.0, 20.0))) > 0)
    assert ramp(np.array([3600.0]))[0] == 1.0


def test_interactive_demand_has_its_trough_at_night_and_its_peaks_by_day() -> None:
    hours = np.arange(0.0, 24.0, 0.25)
    demand = day_demand("interactive", hours)
    assert 2 <= hours[demand.argmin()] <= 6
    assert day_demand("interactive", 11.0) > 2 * demand.min()
    assert np.isclose(day_demand("video", 0.0), day_demand("video", 24.0))
