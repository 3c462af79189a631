"""What came later than the horizon is asked for, in few stretches, and whoever restarts asks again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.recomputation import Asked
from streams.late_spans import GAP_SECS, MOST, LateSpans
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from tests.streams.log import SECOND, START, Gpu, Meter, always, gpu_frame, meters, play, slots

spans = st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 40)), max_size=40)


@given(st.lists(spans, max_size=4))
def test_stretches_cover_all_that_was_noted_and_nothing_far_from_it(noted: list[list[tuple[int, int]]]) -> None:
    gathered = LateSpans()
    for some in noted:
        gathered.note(np.array([first for first, _ in some], int), np.array([first + n for first, n in some], int))
    late = {second for some in noted for first, count in some for second in range(first, first + count)}
    stretches = gathered.take()
    covered = {second for first, end in stretches for second in range(first, end)}
    assert late <= covered
    near = {second + gap for second in late for gap in range(-GAP_SECS, GAP_SECS + 1)}
    assert covered <= near
    assert all(after[0] - before[1] > GAP_SECS for before, after in pairwise(stretches))
    assert gathered.take() == []


def test_of_very_many_the_newest_are_kept_and_the_others_counted() -> None:
    gathered = LateSpans()
    first = np.arange(MOST + 5) * 1_000
    gathered.note(first, first + 1)
    assert gathered.dropped == 5
    assert len(gathered.take()) == MOST


def test_a_reading_beyond_the_horizon_is_asked_for_once_with_the_seconds_that_it_bears_on() -> None:
    roll_up = RollUp(always(slots(), meters()))
    late = [Gpu(0.5, 1, 10, 0, 2000)], [Meter(3.5, 1, 900)]
    play([[Gpu(0.0, 1, 10, 0, 1000)], [Gpu(30.0, 1, 10, 0, 1000)], late[0]], roll_up=roll_up)
    play([[Meter(0.0, 1, 500)], [Meter(30.0, 1, 500)], late[1]], roll_up=roll_up)
    asked = {each.topic: each for each in roll_up.asks()}
    start = START * SECOND
    assert asked[GPU_TOPIC] == Asked(None, start, start + SECOND, "late", GPU_TOPIC, 0, 3)
    # The reading holds for three seconds, and the counter of the second after it begins with it.
    assert asked[METER_TOPIC] == Asked(None, start + 3 * SECOND, start + 8 * SECOND, "late", METER_TOPIC, 0, 3)
    assert roll_up.asks() == []


def test_a_restart_asks_again_for_what_lies_far_below_its_floor_and_not_for_what_was_told() -> None:
    log = [[Gpu(float(at), 1, 10, 0, 1000)] for at in range(100, 130)] + [[Gpu(5.0, 1, 10, 0, 2000)]]
    before = RollUp(always(slots(), meters()))
    play(log[:-1], roll_up=before)
    offset, note = before.places()[GPU_TOPIC, 0]
    again = RollUp(always(slots(), meters()))
    play(log, roll_up=again, first=offset, note=note)
    assert [(each.first_second, each.end_second) for each in again.asks()] == [
        ((START + 5) * SECOND, (START + 6) * SECOND)
    ]


def test_what_was_gone_before_it_was_read_is_asked_for_from_what_was_final_to_where_all_is_there_again() -> None:
    roll_up = RollUp(always(slots(), meters()))
    play([[Gpu(float(at), 1, 10, 0, 1000)] for at in range(20)], roll_up=roll_up)
    roll_up.lose((GPU_TOPIC, 0), 0)
    assert not roll_up.asking  # nobody knows yet until when
    roll_up.feed(GPU_TOPIC, gpu_frame([(50, [Gpu(40.5, 1, 10, 0, 1000)])]), {0: 51}, 0)
    (asked,) = roll_up.asks()
    assert (asked.reason, asked.topic, asked.partition, asked.offset) == ("lost", GPU_TOPIC, 0, 51)
    assert asked.first_second // SECOND - START <= 20 - 10
    assert asked.end_second // SECOND - START == 50


def test_only_the_partition_that_has_something_to_ask_for_is_to_wait_with_its_commit() -> None:
    """Fails where all of a worker's partitions wait: a restart then reads twenty seconds of each again."""
    roll_up = RollUp(always(slots(), meters()))
    play([[Gpu(0.0, 1, 10, 0, 1000)], [Gpu(30.0, 1, 10, 0, 1000)], [Gpu(0.5, 1, 10, 0, 2000)]], roll_up=roll_up)
    play([[Meter(0.0, 1, 500)], [Meter(30.0, 1, 500)]], roll_up=roll_up)
    assert roll_up.asking == {(GPU_TOPIC, 0)}
    roll_up.asks()
    assert roll_up.asking == set()
