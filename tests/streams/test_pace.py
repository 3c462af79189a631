"""When a drain is worth what it costs, and how long a fetch waits for that."""

from __future__ import annotations

import struct
import time

from hypothesis import given
from hypothesis import strategies as st

from streams.fetch import Fetching
from streams.pace import Pace
from streams.roll_up import METER_TOPIC, RollUp
from tests.streams.log import SECOND, START, Meter, always, meter_frame, meters, slots

PACE = {"hold_secs": 0.5, "wait_secs": 0.1, "began": 10.0}
looks = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.floats(0, 0.2)), min_size=1, max_size=20)


def test_what_nobody_waits_for_lies_until_enough_is_held() -> None:
    pace = Pace(**PACE)
    assert [pace.is_due(0, 20, 10.0 + after) for after in (0.0, 0.1, 0.49, 0.5)] == [False, False, False, True]


def test_where_most_can_tell_something_the_drain_is_due_at_once() -> None:
    assert Pace(**PACE).is_due(11, 20, 10.0)
    assert Pace(**PACE).is_due(1, 1, 10.0)


def test_few_that_can_wait_for_the_others_as_long_as_a_fetch_takes() -> None:
    pace = Pace(**PACE)
    assert [pace.is_due(3, 20, at) for at in (10.2, 10.25, 10.299, 10.31)] == [False, False, False, True]
    late = Pace(**PACE)
    assert [late.is_due(3, 20, at) for at in (10.45, 10.51)] == [False, True]


@given(looks)
def test_nothing_is_held_for_longer_than_it_may(looks: list[tuple[int, int, float]]) -> None:
    pace, now = Pace(**PACE), PACE["began"]
    for ready, more, after in looks:
        now += after
        is_due = pace.is_due(ready, ready + more, now)
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
