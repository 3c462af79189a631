"""When a drain is worth what it costs, and how long a fetch waits for that."""

from __future__ import annotations

import asyncio
import struct
import time

from hypothesis import given
from hypothesis import strategies as st

from streams.fetch import Fetching
from streams.pace import Pace
from streams.roll_up import METER_TOPIC, RollUp
from streams.roll_up_app import DUE_AFTER_SECS, RollUpStage
from tests.streams.log import SECOND, START, Meter, always, meter_frame, meters, microseconds, slots

PACE = {"hold_secs": 0.5, "wait_secs": 0.1, "began": 10.0}
looks = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.floats(0, 0.2)), min_size=1, max_size=20)


def test_what_nobody_waits_for_lies_until_enough_is_held() -> None:
    pace = Pace(**PACE)
    assert [pace.is_due(0, 20, 1.0, 10.0 + after) for after in (0.0, 0.1, 0.49, 0.5)] == [False, False, False, True]


def test_where_most_can_tell_something_the_drain_is_due_at_once() -> None:
    assert Pace(**PACE).is_due(11, 20, 0.05, 10.0)
    assert Pace(**PACE).is_due(1, 1, 0.05, 10.0)


def test_few_that_are_early_wait_for_the_others() -> None:
    pace = Pace(**PACE)
    assert [pace.is_due(3, 20, 10.28 - at, at) for at in (10.2, 10.25, 10.279, 10.281)] == [False, False, False, True]
    held = Pace(**PACE)
    assert [held.is_due(3, 20, 10.55 - at, at) for at in (10.46, 10.51)] == [False, True]


def test_few_that_are_late_wait_no_longer() -> None:
    """The others have told this second, and are expected to tell the next one in a second."""
    assert Pace(**PACE).is_due(1, 20, 0.9, 10.0)
    assert Pace(**PACE).is_due(1, 20, -0.1, 10.0)


@given(looks)
def test_nothing_is_held_for_longer_than_it_may(looks: list[tuple[int, int, float]]) -> None:
    pace, now = Pace(**PACE), PACE["began"]
    for ready, more, after in looks:
        now += after
        is_due = pace.is_due(ready, ready + more, 0.05, now)
        assert is_due or now < PACE["began"] + PACE["hold_secs"]
        assert is_due or 2 * ready <= ready + more
        if is_due:
            break


def test_a_fetch_waits_until_something_is_due_and_from_then_on_a_little_at_a_time() -> None:
    """aiokafka writes the number into each request: what is asked is asked then."""
    fetching = Fetching(wait_ms=100, longest_ms=500)

    def waits() -> int:
        (written,) = struct.unpack(">i", struct.pack(">i", fetching))
        return written

    assert waits() == 100
    fetching.due_at = time.time() + 0.3
    assert 200 < waits() <= 300
    fetching.due_at = time.time() + 60
    assert waits() == 500
    fetching.due_at = time.time() - 1
    assert waits() == 100


def test_a_second_closes_when_the_watermark_has_moved_on_by_what_is_said() -> None:
    """And not a microsecond earlier."""
    partition, base = (METER_TOPIC, 1), START * SECOND
    for more, closes in ((-1, 0), (0, 1)):
        roll_up = RollUp(always(slots(), meters()))
        roll_up.assign(partition, "", base)
        assert roll_up.closes_in(partition) == 0, "where nothing came, whatever comes is taken"
        roll_up.feed(METER_TOPIC, meter_frame([(0, [Meter(0.4, 1, 1000)])], 1), {1: 1}, base)
        said = roll_up.closes_in(partition)
        assert said == 850_000
        at = 0.4 + (said + more) / SECOND
        partials = roll_up.feed(METER_TOPIC, meter_frame([(1, [Meter(at, 1, 1000)])], 1), {1: 2}, base)
        assert len(partials) == closes


def stage_of(said: dict[int, tuple[float, float]]) -> RollUpStage:
    """Return a stage whose partitions said their last reading at … and had it appended at …, s after START."""
    stage = RollUpStage("", "wall")
    stage._roll_up = RollUp(always(slots(), meters()))
    for number, (at, appended) in said.items():
        partition = (METER_TOPIC, number)
        stage._roll_up.assign(partition, "", 0)
        stage._roll_up.feed(METER_TOPIC, meter_frame([(0, [Meter(at, 1, 1000)])], number), {number: 1}, 0)
        stage._appended[partition] = microseconds(appended)
    return stage


def test_a_partition_is_ready_when_what_came_last_would_close_a_second_were_it_as_old_as_what_came_before() -> None:
    """One source is heard 0.3 s after it measured: its second closes 0.3 s later in the log than another's."""
    stage = stage_of({0: (0.9, 0.9), 1: (0.9, 1.2)})
    came = [{(METER_TOPIC, number): microseconds(at)} for number, at in ((0, 1.249), (0, 1.25), (1, 1.549), (1, 1.55))]
    assert [stage.ready(each) for each in came] == [0, 1, 0, 1]


def test_a_fetch_is_due_when_half_of_the_partitions_can_close_their_next_second_and_a_little_later() -> None:
    stage = stage_of({0: (0.9, 0.9), 1: (0.9, 1.0), 2: (0.9, 1.2)})
    assert stage.due_at() == START + 1.35 + DUE_AFTER_SECS
    silent = stage_of({0: (0.9, 0.9), 1: (3.5, 3.5), 2: (3.6, 3.6), 3: (3.7, 3.7)})
    assert silent.due_at() == START + 4.25 + DUE_AFTER_SECS, "one that is silent holds nobody up"


def test_while_one_is_late_its_next_message_may_close_the_second_at_any_time() -> None:
    assert stage_of({0: (1.3, 1.3), 1: (0.9, 0.9)}).due_at() == 0.0


def test_in_event_time_whatever_came_is_taken() -> None:
    stage = stage_of({0: (0.9, 0.9)})
    stage._clock = "event"
    assert (stage.ready({(METER_TOPIC, 0): microseconds(0.91)}), stage.due_at()) == (1, 0.0)


def test_a_partition_that_was_just_dealt_to_another_worker_ends_nothing() -> None:
    """Between its end here and that of the rebalance what came of it still waits, and somebody asks for it."""
    stage = stage_of({0: (0.9, 0.9), 1: (0.9, 0.9)})
    asyncio.run(stage.dropped((METER_TOPIC, 1), None))
    assert stage.ready({(METER_TOPIC, 0): microseconds(0.91), (METER_TOPIC, 1): microseconds(0.91)}) == 1
    assert stage.due_at() == START + 1.25 + DUE_AFTER_SECS
