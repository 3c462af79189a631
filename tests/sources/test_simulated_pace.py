"""The schedule of a simulation: on time, never ahead of the clock, nothing dropped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from sources.simulated.pace import LAG_SECONDS, Pace, first_second


def test_live_seconds_are_due_one_second_apart_however_late_the_last_one_was() -> None:
    pace = Pace(start=1000, begun=999.4)
    assert pace.due(1000) == 1000 + LAG_SECONDS
    assert pace.lateness(1003, now=1009.0) is not None
    assert pace.due(1004) == 1004 + LAG_SECONDS


@given(speed=st.floats(1, 500), duration=st.integers(1, 10_000), second=st.integers(0, 20_000))
def test_no_second_is_sent_before_it_was_measured(speed: float, duration: int, second: int) -> None:
    start = first_second(50_000.5, speed, duration)
    pace = Pace(start, begun=50_000.5, speed=speed)
    assert pace.due(start + second) >= start + second + LAG_SECONDS


def test_a_past_is_caught_up_with_at_the_asked_speed() -> None:
    start = first_second(10_000.0, 10.0, 100)
    pace = Pace(start, begun=10_000.0, speed=10.0)
    assert start == 9_900
    assert pace.due(start + 50) == 10_005.0


def test_a_speed_under_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"--speed 0\.5"):
        first_second(0.0, 0.5, None)


def test_falling_behind_is_said_when_it_grows_and_when_it_is_over() -> None:
    pace = Pace(start=0, begun=0.0)
    assert pace.lateness(10, now=10.5) is None
    assert "behind by 1.8 s" in (pace.lateness(11, now=13.0) or "")
    assert pace.lateness(12, now=14.1) is None
    assert "behind by 6.8 s" in (pace.lateness(13, now=20.0) or "")
    assert pace.lateness(30, now=30.2) == "on time again"
