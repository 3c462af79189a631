"""Seconds of racks: what stands, when it closes, and that drains, repeats and restarts leave no trace."""

from __future__ import annotations

from collections import defaultdict

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas import arrow
from schemas.admission import admit
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.message import Message
from streams.gpu_stream import RING_SECONDS
from streams.roll_up import GPU_TOPIC, RollUp
from tests.streams.log import (
    GPUS,
    NODES,
    SECOND,
    START,
    Gpu,
    always,
    gpu_frame,
    meters,
    microseconds,
    play,
    rows,
    slots,
    standing,
)

POWERS = ("at", "subject", "power_milliwatts", "readings")


def powers(partials, *kinds):
    return rows(partials, *kinds).select(POWERS).rows()


def rack_second(at, rack=1, power=1000, **fields):
    return [Gpu(at, rack, 10 * rack + n, g, power, **fields) for n in range(NODES) for g in range(GPUS)]


def test_a_second_closes_when_the_watermark_has_passed_its_end_and_the_grace():
    assert powers(play([rack_second(0.5), rack_second(1.2)]), "closing") == []
    assert powers(play([rack_second(0.5), rack_second(1.25)]), "closing") == [(0, 1, 800_000, 8)]


def test_a_message_that_comes_twice_changes_nothing():
    """Fails where a reading is added instead of written."""
    log = [rack_second(0.0), rack_second(0.0), rack_second(1.0), rack_second(1.0), rack_second(3.0)]
    assert powers(play(log), "closing", "revision") == [(0, 1, 800_000, 8), (1, 1, 800_000, 8)]


def test_a_message_that_comes_twice_after_its_second_closed_is_a_revision_without_a_change():
    log = [rack_second(0.0), rack_second(2.0), rack_second(0.0)]
    closing, revision = rows(play(log), "closing"), rows(play(log), "revision")
    assert_frame_equal(closing, revision)


def test_late_and_on_time_rows_in_one_drain_are_told_apart_by_their_place_in_the_log():
    """Fails where a drain applies all its rows before it closes: the closing would then hold 1,100 W."""
    log = [rack_second(0.0), rack_second(1.5, rack=2), [Gpu(0.9, 1, 10, 0, 4000)]]
    partials = play(log)
    assert powers(partials, "closing") == [(0, 1, 800_000, 8)]
    assert powers(partials, "revision") == [(0, 1, 1_100_000, 9)]


def test_a_revision_names_only_the_racks_that_were_touched():
    log = [rack_second(0.0, rack=1), rack_second(0.0, rack=2), rack_second(2.0), [Gpu(0.5, 2, 20, 1, 2000)]]
    assert [row[1] for row in powers(play(log), "revision")] == [2]


def test_a_reading_later_than_the_horizon_is_counted_and_in_no_window():
    roll_up = RollUp(always(slots(), meters()))
    partials = play([rack_second(0.0), rack_second(11.0), rack_second(0.5, power=2000)], roll_up=roll_up)
    assert powers(partials, "revision") == []
    assert roll_up.too_late() == {(GPU_TOPIC, 0): 8}


def test_of_several_readings_in_a_second_the_latest_stands_and_the_greatest_is_kept():
    """Fails where what comes last stands."""
    log = [[Gpu(0.9, 1, 10, 0, 1000), Gpu(0.1, 1, 10, 0, 9000, temperature=80.0)], [Gpu(0.5, 1, 10, 0, 2000)]]
    for drains in ((), (1, 2)):
        row = rows(play([*log, rack_second(5.0)], drains), "closing").row(0, named=True)
        assert (row["power_milliwatts"], row["power_max_milliwatts"]) == (100_000, 900_000)
        assert (row["temperature_max_decicelsius"], row["reporting"], row["readings"]) == (800, 1, 3)


def test_of_equal_times_the_greater_value_stands_whichever_came_first():
    for powers_ in ((1000, 3000), (3000, 1000)):
        for drains in ((), (1,)):
            log = [[Gpu(0.5, 1, 10, 0, power)] for power in powers_]
            assert powers(play([*log, rack_second(5.0)], drains), "closing")[0][2] == 300_000


def test_mig_instances_of_one_board_count_its_power_once():
    log = [[Gpu(0.5, 1, 10, 0, 3000, instance=i) for i in range(7)], rack_second(5.0)]
    assert powers(play(log), "closing") == [(0, 1, 300_000, 1)]


def test_a_reading_without_power_does_not_hide_one_with_power_and_is_not_zero():
    log = [[Gpu(0.1, 1, 10, 0, 3000), Gpu(0.9, 1, 10, 0, None), Gpu(0.5, 1, 10, 1, None)], rack_second(5.0)]
    row = rows(play(log), "closing").row(0, named=True)
    assert (row["power_milliwatts"], row["reporting"], row["expected"]) == (300_000, 1, 8)
    only = rows(play([[Gpu(0.5, 1, 10, 1, None)], rack_second(5.0)]), "closing").row(0, named=True)
    assert only["power_milliwatts"] is None
    assert only["energy_method"] is None


def test_what_is_silent_is_counted_at_its_nameplate_where_that_is_known():
    log = [rack_second(0.0)[:5], rack_second(5.0)]
    assert rows(play(log), "closing")["silent_nameplate_milliwatts"].to_list() == [3 * 700_000]
    unknown = RollUp(always(slots(nameplate=None), meters()))
    assert rows(play(log, roll_up=unknown), "closing")["silent_nameplate_milliwatts"].to_list() == [None]
    full = RollUp(always(slots(nameplate=None), meters()))
    assert rows(play([rack_second(0.0), rack_second(5.0)], roll_up=full), "closing")[
        "silent_nameplate_milliwatts"
    ].to_list() == [0]


def test_gpus_that_the_registry_does_not_know_belong_to_no_sum_but_move_the_watermark():
    strangers = [Gpu(0.1, -7, -8, 0, 5000), Gpu(0.1, 1, 10, GPUS, 5000), Gpu(0.1, 2, 10, 0, 5000)]
    log = [[*strangers, *rack_second(0.0)], [Gpu(1.5, -7, -8, 0, 5000)]]
    assert powers(play(log), "closing") == [(0, 1, 800_000, 8)]


def test_a_slot_of_the_ring_is_clear_when_it_is_used_again():
    """Fails where a recycled slot clears only its times: the second rack's old power would be summed again."""
    log = [rack_second(0.0, rack=1, power=5000), *(rack_second(float(s), rack=2) for s in range(1, 2 * RING_SECONDS))]
    told = rows(play(log, range(len(log))), "closing")
    assert told.filter(at=RING_SECONDS).select(POWERS).rows() == [(RING_SECONDS, 2, 800_000, 8)]
    assert told.filter(subject=1).height == 1


def test_a_drain_longer_than_the_ring_loses_nothing():
    log = [rack_second(float(s), power=s + 1) for s in range(500)]
    partials = play(log)
    assert [row[2] for row in powers(partials, "closing")] == [(s + 1) * 800 for s in range(498)]
    assert len([partial for partial in partials if partial.envelope.kind == "closing"]) < 150


def test_one_message_longer_than_the_ring_loses_nothing():
    long = [reading for s in range(200) for reading in rack_second(float(s), power=s + 1)]
    log = [rack_second(0.0, rack=2), long, rack_second(300.0)]
    told = rows(play(log), "closing")
    assert told.filter(subject=1).height == 200
    assert told.filter(subject=1)["power_milliwatts"].to_list() == [(s + 1) * 800 for s in range(200)]


def test_months_between_two_recordings_are_one_closing():
    month = 30 * 86_400.0
    partials = play([rack_second(0.0), rack_second(month), rack_second(month + 5)])
    closings = [partial.envelope for partial in partials if partial.envelope.kind == "closing"]
    assert len(closings) == 2
    assert closings[0].first_second == START * SECOND
    assert closings[0].end_second == closings[1].first_second
    assert powers(partials, "closing") == [(0, 1, 800_000, 8), (month, 1, 800_000, 8)]


def test_closings_join_without_a_gap_in_seconds_and_in_offsets():
    log = [rack_second(s / 3) for s in range(60)]
    closings = [partial.envelope for partial in play(log, range(0, 60, 7)) if partial.envelope.kind == "closing"]
    assert [one.end_second for one in closings[:-1]] == [one.first_second for one in closings[1:]]
    assert [one.to_offset for one in closings[:-1]] == [one.from_offset for one in closings[1:]]


def test_a_restart_from_the_committed_place_tells_the_same_again():
    """Fails where what is committed is what is closed (the watermark is then not true at the first message)."""
    log = [rack_second(s / 2, rack=1 + s % 3, power=100 + s) for s in range(60)]
    log.insert(50, rack_second(15.0, rack=2, power=7))
    whole = rows(play(log), "closing", "revision")
    roll_up = RollUp(always(slots(), meters()))
    play(log[:55], range(55), roll_up=roll_up)
    offset, note = roll_up.places()[GPU_TOPIC, 0]
    again = rows(play(log, first=offset, note=note), "closing", "revision")
    assert 0 < offset < 50
    # A drain of many seconds tells what was late after more closings; of each second it is the same.
    order = ("at", "subject", "readings", "digest")
    assert_frame_equal(again.sort(order), whole.filter(whole["at"] >= int(note.split("/")[0]) - START).sort(order))


def test_a_drain_of_which_nothing_was_admitted_moves_the_place_and_tells_nothing():
    roll_up = RollUp(always(slots(), meters()))
    roll_up.assign((GPU_TOPIC, 0), "", 0)
    assert roll_up.feed(GPU_TOPIC, gpu_frame([]), {0: 5}, 0) == []
    assert roll_up.places() == {(GPU_TOPIC, 0): (5, "")}


def test_nothing_below_the_first_second_read_is_told():
    log = [rack_second(5.0), rack_second(4.5), rack_second(9.0)]
    assert {row[0] for row in powers(play(log), "closing", "revision")} == {5}


def test_an_empty_partition_is_noted_idle_after_two_seconds_and_again_each_second():
    roll_up = RollUp(always(slots(), meters()))
    now = microseconds(0.5)
    roll_up.assign((GPU_TOPIC, 3), "", now)
    assert roll_up.idle({(GPU_TOPIC, 3)}, now + 1_900_000) == []
    (note,) = roll_up.idle({(GPU_TOPIC, 3)}, now + 2_000_000)
    assert (note.envelope.kind, note.envelope.end_second, len(note.rows)) == ("idle", microseconds(2), 0)
    assert roll_up.idle({(GPU_TOPIC, 3)}, now + 2_400_000) == []
    assert len(roll_up.idle({(GPU_TOPIC, 3)}, now + 2_600_000)) == 1
    assert roll_up.idle(set(), now + 9_000_000) == []


def test_an_idle_note_is_told_again_where_nothing_is_left_to_close():
    roll_up = RollUp(always(slots(), meters()), clock="event")
    play([rack_second(0.0)], roll_up=roll_up)
    assert roll_up.idle({(GPU_TOPIC, 0)}, 2_000_000) != []
    (note,) = roll_up.idle({(GPU_TOPIC, 0)}, 32_000_000)
    assert note.rows.is_empty()


def test_an_idle_note_of_a_source_whose_clock_is_ahead_closes_nothing_more():
    roll_up = RollUp(always(slots(), meters()))
    play([rack_second(0.0), rack_second(5.0)], roll_up=roll_up)
    (note,) = roll_up.idle({(GPU_TOPIC, 0)}, microseconds(2.5))
    assert note.rows.is_empty()


def test_an_idle_note_carries_what_the_log_has_not_closed_and_the_log_closes_it_all_the_same():
    roll_up = RollUp(always(slots(), meters()), clock="event")
    play([rack_second(0.0), rack_second(0.9, rack=2)], roll_up=roll_up)
    *_, note = roll_up.idle({(GPU_TOPIC, 0)}, 2_000_000)
    assert powers([note], "idle") == [(0, 1, 800_000, 8), (0, 2, 800_000, 8)]
    assert roll_up.idle({(GPU_TOPIC, 0)}, 3_000_000) == []
    told = roll_up.feed(GPU_TOPIC, gpu_frame([(2, rack_second(5.0))]), {0: 3}, 4_000_000)
    assert powers(told, "closing") == powers([note], "idle")


def test_a_rack_whose_clock_is_ten_minutes_ahead_is_refused_and_closes_nothing_for_the_others():
    """Fails where admission does not hold event time against append time: the others would all be late."""
    roll_up = RollUp(always(slots(), meters()))
    roll_up.assign((GPU_TOPIC, 0), "", 0)
    log = [rack_second(0.0), rack_second(600.0, rack=2), rack_second(0.5, rack=3), rack_second(2.0)]
    rows_of = {name: pl.lit(None) for name in GPU.polars}
    messages = [
        Message(
            GPU_TOPIC,
            0,
            offset,
            microseconds(readings[0].at if readings[0].rack != 2 else 0.0),
            b"rack",
            arrow.encode(GPU, gpu_frame([(0, readings)]).with_columns(power_watts=100.0).select(
                **rows_of | {name: pl.col(name) for name in ("time", "rack", "node", "gpu", "power_watts")}
            ).cast(GPU.polars)),
            tuple(arrow.headers(GPU)),
        )
        for offset, readings in enumerate(log)
    ]  # fmt: skip
    decoded = decode(GPU_TOPIC, messages, None)
    admitted = admit(GPU, decoded.frame, None, clock="wall")
    assert admitted.refused["reason"].to_list() == ["clock_ahead"] * 8
    assert admitted.refused["message"].str.contains("at most 5 s are allowed: set the source's clock").all()
    told = roll_up.feed(GPU_TOPIC, admitted.rows, {0: 4}, 0)
    assert powers(told, "closing", "revision") == [(0, 1, 800_000, 8), (0, 3, 800_000, 8)]


readings = st.builds(
    Gpu,
    at=st.integers(0, 400).map(lambda tenth: tenth / 10),
    rack=st.integers(1, 2),
    node=st.just(0),
    gpu=st.integers(0, 2),
    power=st.one_of(st.none(), st.integers(0, 3)),
    utilization=st.one_of(st.none(), st.integers(0, 2)),
    temperature=st.one_of(st.none(), st.just(40.0)),
    instance=st.none(),
    energy=st.one_of(st.none(), st.integers(0, 2)),
).map(lambda reading: reading._replace(node=10 * reading.rack))


@st.composite
def logs(draw):
    """Draw messages whose times advance, with late ones and repeats among them."""
    log, clock = [], 0.0
    for _ in range(draw(st.integers(1, 25))):
        clock += draw(st.sampled_from((0.0, 0.1, 0.7, 1.0, 3.0, 25.0)))
        late = draw(st.sampled_from((0.0, 0.0, 0.0, 0.5, 2.0, 9.0, 12.0)))
        few = draw(st.lists(readings, min_size=1, max_size=4))
        log.append([each._replace(at=round(max(0.0, clock - late + each.at / 40), 3)) for each in few])
        if draw(st.integers(0, 9)) == 0:
            log.append(log[draw(st.integers(0, len(log) - 1))])
    return log


def closings_by_the_book(log):
    """Close seconds message by message, as the rule says it, with dictionaries: (second, rack) → 0.1 W."""
    floor = closed = int(min(each.at for each in log[0]))
    told, seen, watermark = {}, defaultdict(set), -1
    for message in [*log, []]:
        while (closed + 1) * SECOND + 250_000 <= watermark:
            told |= {(closed, rack): _sum_of_best(gpus) for (second, rack), gpus in seen.items() if second == closed}
            closed += 1
        for each in message:
            if int(each.at) >= max(floor, watermark // SECOND - 10):
                seen[int(each.at), each.rack].add(
                    (each.gpu, each.power is not None, round(each.at * SECOND), each.power)
                )
        watermark = max([watermark, *(round(each.at * SECOND) for each in message)])
    return told


def _sum_of_best(readings):
    best = {}
    for gpu, *rank in sorted(readings, key=lambda each: (*each[:3], each[3] or 0)):
        best[gpu] = rank[-1]
    there = [power for power in best.values() if power is not None]
    return sum(there) if there else None


@settings(max_examples=60, deadline=None)
@given(logs(), st.lists(st.integers(1, 40), max_size=6))
def test_closings_do_not_depend_on_where_drains_end(log, cuts):
    one, many = play(log), play(log, cuts)
    each = play(log, range(len(log)))
    for other in (many, each):
        assert_frame_equal(rows(one, "closing"), rows(other, "closing"))
        assert_frame_equal(standing(one), standing(other))


@settings(max_examples=60, deadline=None)
@given(logs())
def test_closings_are_those_of_the_rule_applied_message_by_message(log):
    told = {
        (row["at"], row["subject"]): None if row["power_milliwatts"] is None else row["power_milliwatts"] // 100
        for row in rows(play(log), "closing").iter_rows(named=True)
    }
    assert told == closings_by_the_book(log)


@settings(max_examples=60, deadline=None)
@given(logs(), st.integers(1, 40), st.lists(st.integers(1, 40), max_size=4))
def test_a_restart_anywhere_tells_the_same_from_its_floor_on(log, stop, cuts):
    roll_up = RollUp(always(slots(), meters()))
    play(log[: min(stop, len(log))], cuts, roll_up=roll_up)
    offset, note = roll_up.places()[GPU_TOPIC, 0]
    again = rows(play(log, first=offset, note=note), "closing") if offset < len(log) else rows([], "closing")
    whole = rows(play(log), "closing")
    assert_frame_equal(again, whole.filter(whole["at"] >= int(note.split("/")[0]) - START))
