"""What the app finds wrong, each with its sentence, and what it does not."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest

from schemas.facility import load
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from tests.web.states import LAKE, NOW, STARTED, closing, gone, health, heard, partitions, sung, window
from wattline.scales import facility_file
from web.live import LiveState
from web.state import State, words

PERIOD = timedelta(minutes=5)


@pytest.fixture(scope="module")
def facility() -> Registry:
    return assign(load(facility_file("2MW")))


@pytest.fixture
def state(facility: Registry) -> State:
    """Return a state in which all is well."""
    state = State(STARTED, PERIOD, LiveState(facility))
    state.workers.take([heard(health(app)) for app in ("roll-up", "evaluate", "lake")])
    assert state.live is not None
    state.live.take([closing(window(facility, SubjectKind.SITE, "ruh", 900_000.0)), sung(NOW - timedelta(minutes=2))])
    return state


def test_where_all_is_well_nothing_is_said(state: State) -> None:
    assert state.problems(NOW) == []
    assert state.canary_delay() == timedelta(milliseconds=40)


def test_a_worker_that_is_not_heard_for_three_reports_is_missed(state: State) -> None:
    state.workers.take([heard(health("lake"), at=NOW - timedelta(seconds=15))])
    assert state.problems(NOW) == []
    state.workers.take([heard(health("lake"), at=NOW - timedelta(seconds=16))])
    assert state.problems(NOW) == ["lake-0 on node-1 was last heard 16 s ago; it speaks every 5 s"]


def test_a_worker_that_ended_in_order_is_not_missed_unless_nobody_else_does_its_work(state: State) -> None:
    state.workers.take([gone("lake")])
    assert state.problems(NOW) == []
    state.workers.take([gone("evaluate")])
    assert state.problems(NOW) == ["no worker of evaluate is heard: is it running?"]


def test_at_the_start_there_is_time_to_be_heard(facility: Registry) -> None:
    state = State(NOW, PERIOD, LiveState(facility))
    assert state.problems(NOW + timedelta(seconds=14)) == []
    assert len(state.problems(NOW + timedelta(seconds=16))) == 2


@pytest.mark.parametrize(
    ("app", "lag", "is_wrong"),
    [("evaluate", 9.0, False), ("evaluate", 11.0, True), ("lake", 59.0, False), ("lake", 61.0, True)],
)
def test_lag_is_judged_by_what_the_worker_is_for(state: State, app: str, lag: float, is_wrong: bool) -> None:
    state.workers.take([heard(health(app, partitions=partitions(app, lag)))])
    said = [problem for problem in state.problems(NOW) if f"{app}-0 on node-1 is {lag:.0f} s behind" in problem]
    assert bool(said) is is_wrong


def test_a_partition_that_nobody_reads_is_found_although_it_has_no_lag(state: State) -> None:
    fewer = health("roll-up", partitions=partitions("roll-up")[:-2])
    state.workers.take([heard(fewer, at=NOW - timedelta(seconds=16)), heard(fewer, at=NOW)])
    assert state.problems(NOW) == ["no worker of roll-up reads telemetry.power.v1, partition 2, 3, since 16 s"]
    other = health("roll-up", slot=1, partitions=partitions("roll-up")[-2:])
    state.workers.take([heard(other, at=NOW)])
    assert state.problems(NOW) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"missing_rows": 1_234}, "1,234 rows of the lake are missing: their files were damaged (FROM damage)"),
        ({"days_left": 2}, "the disk of the lake is full in 2 days: `wattline lake status` says why"),
        ({"holds_budget": False}, "the lake is over its disk_budget_bytes, and no table may be shortened further"),
    ],
)
def test_a_lake_that_needs_hands_is_a_problem(state: State, change: dict[str, object], said: str) -> None:
    state.workers.take([heard(health("upkeep", partitions=(), lake=msgspec.structs.replace(LAKE, **change)))])
    (problem,) = state.problems(NOW)
    assert problem.startswith(said)


def test_seconds_that_do_not_close_are_a_problem_though_every_worker_is_heard(state: State, facility: Registry) -> None:
    later = NOW + timedelta(seconds=14)
    for app in ("roll-up", "evaluate", "lake"):
        state.workers.take([heard(health(app), at=later)])
    assert state.problems(later) == ["no second of ruh was closed for 16 s"]


@pytest.mark.parametrize("last", [NOW - timedelta(seconds=331), None])
def test_a_canary_that_is_overdue_is_a_problem(facility: Registry, state: State, last: datetime | None) -> None:
    live = LiveState(facility)
    live.take([sung(last)] if last else [])
    state.live = live
    came = "came last 6 min ago" if last else "never came"
    assert state.problems(NOW) == [
        f"the canary's alert is overdue: due every 5 min, it {came}; readings do not become alerts"
    ]


def test_an_app_that_has_just_started_blames_nobody_for_the_canaries_that_it_did_not_send(state: State) -> None:
    state.started = NOW - timedelta(minutes=1)
    assert state.live is not None
    state.live.canary = None
    assert state.problems(NOW) == []


def test_on_the_clock_of_the_events_there_is_no_canary_and_nothing_closes_by_the_clock(state: State) -> None:
    state.canary_every = None
    assert state.live is not None
    state.live.canary = None
    state.live.closed = {"ruh": NOW - timedelta(days=600)}
    assert state.problems(NOW) == []


def test_what_keeps_the_app_from_hearing_is_said_first(state: State) -> None:
    state.troubles["workers"] = "no broker answers"
    assert state.problems(NOW) == ["workers cannot be heard: no broker answers"]


def test_a_slot_that_was_not_heard_for_a_day_is_waited_for_no_longer(state: State) -> None:
    state.workers.take([heard(health("lake", slot=9), at=NOW - timedelta(hours=24))])
    assert state.problems(NOW) == []
    assert [worker.health.slot for worker in state.workers.at(NOW)] == [0, 0, 0]


def test_a_slot_whose_partitions_others_have_is_waited_for_no_longer_than_ten_minutes(state: State) -> None:
    """Fewer workers than before, and the old ones were killed: no record takes theirs away."""
    spare = health("roll-up", slot=1, partitions=partitions("roll-up")[:4])
    state.workers.take([heard(spare, at=NOW - timedelta(minutes=9))])
    assert state.problems(NOW) == ["roll-up-1 on node-1 was last heard 9 min ago; it speaks every 5 s"]
    state.workers.take([heard(spare, at=NOW - timedelta(minutes=10))])
    assert state.problems(NOW) == []


def test_a_slot_whose_partitions_nobody_has_is_waited_for(state: State) -> None:
    alone = health("roll-up", slot=1, partitions=partitions("roll-up")[:4])
    others = health("roll-up", partitions=partitions("roll-up")[4:])
    state.workers.take([heard(alone, at=NOW - timedelta(minutes=10)), heard(others)])
    assert any("roll-up-1 on node-1 was last heard 10 min ago" in each for each in state.problems(NOW))


def test_garbage_among_records_is_counted_and_costs_no_worker(state: State) -> None:
    state.workers.take([heard(health("lake"))._replace(value=b"\xff")])
    assert state.unreadable == 1
    assert len(state.workers.at(NOW)) == 3


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 d")]
)
def test_a_span_is_said_in_its_largest_unit(seconds: float, said: str) -> None:
    assert words(timedelta(seconds=seconds)) == said
