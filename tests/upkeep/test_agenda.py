"""Which duty's turn it is, and that one that fails stops no other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.upkeep.agenda import (
    FIRST_PAUSE_SECS,
    LONGEST_PAUSE_SECS,
    Duty,
    Turn,
    after_failure,
    after_success,
    due,
    pause_until_next,
)
from sinks.upkeep.loop import keep

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def nothing(lake: Path, now: datetime) -> Iterable[str]:
    return ()


OFTEN, SELDOM = Duty("often", 10.0, nothing), Duty("seldom", 1_000.0, nothing)


def test_one_that_never_had_a_turn_is_first_and_then_the_one_that_waited_longest() -> None:
    assert due((OFTEN, SELDOM), {}, 0.0) is OFTEN
    assert due((OFTEN, SELDOM), {"often": Turn(0.0)}, 5.0) is SELDOM
    assert due((OFTEN, SELDOM), {"often": Turn(4.0), "seldom": Turn(3.0)}, 5.0) is SELDOM
    assert due((OFTEN, SELDOM), {"often": Turn(6.0), "seldom": Turn(7.0)}, 5.0) is None


def test_the_pause_ends_when_the_next_one_is_due() -> None:
    assert pause_until_next((OFTEN, SELDOM), {"often": Turn(6.0), "seldom": Turn(7.0)}, 5.0) == 1.0
    assert pause_until_next((OFTEN, SELDOM), {"often": Turn(6.0)}, 5.0) == 0.0


def test_failures_wait_longer_each_time_and_never_for_more_than_an_hour() -> None:
    turn, waits = None, []
    for _ in range(12):
        turn = after_failure(OFTEN, turn, 100.0)
        waits.append(turn.at - 100.0)
    assert waits[:3] == [FIRST_PAUSE_SECS, 2 * FIRST_PAUSE_SECS, 4 * FIRST_PAUSE_SECS]
    assert waits[-1] == LONGEST_PAUSE_SECS
    assert after_success(OFTEN, 100.0) == Turn(110.0, failures=0)


@given(st.lists(st.floats(0.001, 50.0), min_size=1, max_size=5), st.floats(0.0, 5.0))
def test_no_duty_waits_for_more_than_its_time_and_a_turn_of_every_other(every: list[float], took: float) -> None:
    """Over any set of duties, in a loop whose every turn takes so long."""
    duties = [Duty(str(number), secs, nothing) for number, secs in enumerate(every)]
    turns: dict[str, Turn] = {}
    last, now = dict.fromkeys((duty.name for duty in duties), 0.0), 0.0
    for _ in range(60):
        now += pause_until_next(duties, turns, now)
        duty = due(duties, turns, now)
        assert duty is not None
        if duty.name in turns:
            assert now - last[duty.name] <= duty.every_secs + took * len(duties) + 1e-6
        now += took
        turns[duty.name], last[duty.name] = after_success(duty, now), now


def test_a_duty_that_fails_says_so_and_the_others_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopping, done = threading.Event(), []

    def failing(lake: Path, now: datetime) -> Iterable[str]:
        yield "half of it was done"
        raise ValueError("what went wrong")

    def counting(lake: Path, now: datetime) -> Iterable[str]:
        done.append(now)
        if len(done) == 3:
            stopping.set()
        return (f"done {len(done)} times",)

    caplog.set_level(logging.INFO)
    keep(tmp_path, (Duty("bad", 0.01, failing), Duty("good", 0.01, counting)), stopping, now=lambda: NOON)
    assert done == [NOON] * 3
    assert caplog.messages[0] == "bad: half of it was done"
    assert caplog.messages[1] == "bad failed: ValueError: what went wrong; next try in 30 s"
    assert caplog.messages[2:] == ["good: done 1 times", "good: done 2 times", "good: done 3 times"]
