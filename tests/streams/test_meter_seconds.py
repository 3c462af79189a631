"""Seconds of meters: how long a reading holds, and what a window makes of it."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.partial import PARTIAL
from streams.in_force import InForce
from streams.meter_log import NULL, MeterLog
from streams.meter_readings import MeterReadings
from streams.meter_seconds import meter_seconds
from streams.roll_up import METER_TOPIC, RollUp
from tests.streams.log import SECOND, START, Devices, Meter, always, meter_frame, meters, play, rows, slots, standing


def every(step, count, power=1_000_000, **fields):
    return [[Meter(round(i * step, 6), 1, power, interval=step, **fields)] for i in range(count)]


def told(log, *kinds, cuts=()):
    return rows(play(log, cuts), *(kinds or ("closing",)))


def column(log, name, **filters):
    return told(log).filter(**filters)[name].to_list()


def test_a_two_second_meter_reports_its_load_every_second():
    """Fails where a window counts only the readings inside it: every other second would be missing."""
    log = [*every(2.0, 8), [Meter(20.0, 2, 0)]]
    assert column(log, "power_milliwatts", subject=1)[:14] == [1_000_000] * 14


def test_a_reading_holds_for_three_intervals_and_not_longer():
    """A gap of 18 s in a 1 s meter is silence from the third second on, and load again after it."""
    log = [*every(1.0, 3), [Meter(20.0, 1, 5_000_000)], [Meter(23.0, 2, 0)]]
    assert column(log, "at", subject=1) == [0, 1, 2, 3, 4, 20, 21]
    assert column(log, "energy_millijoules", subject=1) == [1_000_000] * 5 + [5_000_000] * 2


def test_power_is_the_mean_weighted_by_time():
    log = [[Meter(0.0, 1, 1000), Meter(0.25, 1, 5000), Meter(0.5, 1, 1000)], [Meter(3.0, 2, 0)]]
    first = told(log).filter(subject=1).row(0, named=True)
    assert (first["power_milliwatts"], first["power_max_milliwatts"], first["energy_millijoules"]) == (2000, 5000, 2000)
    assert (first["readings"], first["reporting"], first["oldest_age_microseconds"]) == (3, 1, SECOND)


def test_a_second_that_is_covered_in_part_has_the_mean_of_that_part_and_its_energy():
    log = [[Meter(0.75, 1, 1000)], [Meter(9.0, 2, 0)]]
    assert column(log, "power_milliwatts", subject=1)[0] == 1000
    assert column(log, "energy_millijoules", subject=1)[0] == 250


def test_a_ten_hertz_meter_keeps_the_largest_and_the_square_of_its_swings():
    """Mean current is not RMS: swings of 0.5 and 1.5 In have mean 1.0 and RMS 1.12."""
    log = [
        [Meter(i / 10, 1, 1000, interval=0.1, current=500_000 if i % 2 else 1_500_000) for i in range(10)],
        [Meter(3.0, 2, 0)],
    ]
    square = column(log, "current_square_microseconds", subject=1)[0]
    assert square == round((500**2 + 1500**2) / 2 * SECOND)
    assert round((square / SECOND) ** 0.5 / 1000, 2) == 1.12


def test_the_worst_phase_stands_for_the_current_and_only_the_total_for_the_power():
    phases = [Meter(0.0, 1, 400, phase=p, current=c) for p, c in ((1, 10_000), (2, 30_000), (3, 20_000))]
    log = [[Meter(0.0, 1, 1200, current=99_000), *phases], [Meter(5.0, 2, 0)]]
    first = told(log).filter(subject=1).row(0, named=True)
    assert (first["power_milliwatts"], first["current_square_microseconds"]) == (1200, 900 * SECOND)


def test_a_meter_of_phases_only_has_current_and_no_power():
    first = told([[Meter(0.0, 1, 400, phase=1, current=1000)], [Meter(5.0, 2, 0)]]).row(0, named=True)
    assert (first["power_milliwatts"], first["reporting"], first["current_square_microseconds"]) == (None, 0, SECOND)


def test_energy_is_the_counters_difference_where_the_counter_is_fine():
    fine = [[Meter(float(s), 1, 10_000_000, energy=7_000_001 + s * 10_100_003)] for s in range(5)]
    log = [*fine, [Meter(9.0, 2, 0)]]
    assert column(log, "energy_millijoules", subject=1)[:3] == [10_000_000, 10_100_003, 10_100_003]
    assert column(log, "energy_method", subject=1)[:3] == [3, 1, 1]


def test_a_coarse_counter_or_one_that_was_reset_gives_way_to_the_integral():
    """0.1 kWh is 3 s at 120 kW: its difference over one second is 0 or three times too much."""
    coarse = [[Meter(float(s), 1, 120_000_000, energy=360_000_000 * (s // 3 + 1))] for s in range(7)]
    assert set(column([*coarse, [Meter(9.0, 2, 0)]], "energy_method", subject=1)) == {3}
    reset = [[Meter(float(s), 1, 10_000_000, energy=e)] for s, e in enumerate((90_000_001, 3, 10_100_006))]
    assert column([*reset, [Meter(9.0, 2, 0)]], "energy_method", subject=1)[:3] == [3, 3, 1]


def test_a_counter_that_was_reset_within_a_second_and_is_past_its_old_value_gives_way_to_the_integral():
    """It fell between two readings of the second: from end to end it rose, and by too little."""
    counter = ((0.9, 400_001), (1.3, 1_200_003), (1.5, 7), (1.9, 600_010), (2.9, 1_600_013))
    log = [[Meter(at, 1, 2_000_000, energy=energy)] for at, energy in counter]
    assert column([*log, [Meter(9.0, 2, 0)]], "energy_method", subject=1)[:3] == [3, 3, 1]


def test_a_counter_that_gains_more_than_can_have_flowed_is_another_meters():
    """A meter is replaced and its counter begins elsewhere; where nobody knows a limit nobody can tell."""
    counter = (7_000_001, 8_000_000_000_003, 8_000_010_000_006)
    log = [[Meter(float(s), 1, 10_000_000, energy=e)] for s, e in enumerate(counter)] + [[Meter(9.0, 2, 0)]]
    limits = pl.DataFrame({"kind": [4, 4], "id": [1, 1], "limit": ["budget", "nameplate"], "watts": [1.0, 12_000.0]})
    known = RollUp(InForce.always(Devices(slots(), meters(), limits)))
    for roll_up, methods in ((known, [3, 3, 1]), (None, [3, 1, 1])):
        first = rows(play(log, roll_up=roll_up), "closing").filter(subject=1)
        assert first["energy_method"].to_list()[:3] == methods


def test_what_came_late_before_a_gap_is_told_before_the_gap_closes_though_one_drain_holds_both():
    """After the closing of so much more the evaluator has let go of the second that the late reading revises."""
    log = [[Meter(0.0, 1, 1000)], [Meter(4.0, 1, 2000)], [Meter(2.0, 1, 3000)], [Meter(90.0, 1, 1000)]]
    for cuts in ((), (3,)):
        said = [(each.envelope.kind, each.envelope.end_second // SECOND - START) for each in play(log, cuts)]
        assert said == [("closing", 3), ("revision", 3), ("closing", 89)], cuts


def test_zero_is_a_measurement():
    assert column([*every(1.0, 2, power=0), [Meter(9.0, 2, 0)]], "power_milliwatts", subject=1)[0] == 0


def test_a_meter_that_is_not_registered_belongs_to_no_sum():
    assert told([[Meter(0.0, -5, 1000), Meter(0.0, 99, 1000)], [Meter(9.0, -5, 0)]]).is_empty()


def test_the_registry_says_the_interval_where_the_source_does_not():
    silent = [[Meter(0.0, 2, 1000, interval=None)], [Meter(0.0, 3, 1000, interval=None)], [Meter(20.0, 1, 0)]]
    assert column(silent, "at", subject=2) == [0, 1, 2, 3, 4, 5]
    assert column(silent, "at", subject=3) == [0, 1, 2]


def test_a_late_reading_revises_the_seconds_that_it_reaches():
    log = [[Meter(0.0, 1, 1000)], [Meter(5.0, 2, 0)], [Meter(1.0, 1, 3000)]]
    revised = told(log, "revision")
    assert revised.select("at", "subject", "power_milliwatts").rows() == [(1, 1, 3000), (2, 1, 3000), (3, 1, 3000)]


def test_a_late_reading_counts_in_the_closings_after_it():
    """Fails where a drain closes first and applies late rows then: seconds 1 to 3 would hold 1,000 mW."""
    log = [[Meter(0.0, 1, 1000)], [Meter(1.3, 2, 0)], [Meter(0.5, 1, 3000)], [Meter(9.0, 2, 0)]]
    for cuts in ((), (1, 2, 3)):
        seconds = told(log, cuts=cuts).filter(subject=1)
        assert seconds.select("at", "power_milliwatts").rows() == [(0, 1000), (1, 3000), (2, 3000), (3, 3000)]


def test_a_source_whose_clock_is_behind_is_told_once_a_second_and_not_once_a_message():
    """Each of its messages is late: told one by one, a backlog of them held a worker for longer than its watchdog."""
    log = [
        [Meter(tenth / 10 - lag, meter, 1000 * tenth)]
        for tenth in range(30, 130)
        for meter, lag in ((1, 0.0), (2, 3.0))
    ]
    partials = play(log)
    assert sum(partial.envelope.kind == "revision" for partial in partials) <= 11
    assert_frame_equal(standing(partials), standing(play(log, range(len(log)))))


def test_months_without_readings_cost_nothing():
    log = [[Meter(0.0, 1, 1000)], [Meter(90 * 86_400.0, 1, 1000)], [Meter(90 * 86_400.0 + 9, 1, 1000)]]
    (closing,) = play(log)
    assert closing.rows.height == 6


def test_an_idle_meter_is_told_on_while_it_holds():
    """A meter of 5 s is idle by the clock between its readings; its seconds are told all the same."""
    roll_up = RollUp(always(slots(), meters()))
    base = START * SECOND
    roll_up.assign((METER_TOPIC, 1), "", base)
    roll_up.feed(METER_TOPIC, meter_frame([(0, [Meter(0.0, 1, 1000, interval=5.0)])], 1), {1: 1}, base)
    partials = [p for tenth in range(40) for p in roll_up.idle({(METER_TOPIC, 1)}, base + tenth * SECOND // 10)]
    assert rows(partials, "idle")["at"].to_list() == [0, 1, 2]
    assert [p.envelope.end_second // SECOND - START for p in partials] == [2, 3]


power_readings = st.builds(
    Meter,
    at=st.integers(0, 40).map(lambda tenth: tenth / 10),
    meter=st.integers(1, 3),
    power=st.one_of(st.none(), st.integers(0, 10**9)),
    interval=st.sampled_from((None, 0.1, 1.0, 2.0, 5.0)),
    phase=st.integers(0, 1),
    current=st.one_of(st.none(), st.integers(0, 10**6)),
    energy=st.one_of(st.none(), st.integers(0, 10**12)),
)


@st.composite
def logs(draw):
    log, clock = [], 0.0
    for _ in range(draw(st.integers(1, 15))):
        clock += draw(st.sampled_from((0.0, 0.3, 1.0, 4.0)))
        late = draw(st.sampled_from((0.0, 0.0, 0.0, 1.0, 6.0, 12.0)))
        few = draw(st.lists(power_readings, min_size=1, max_size=4))
        log.append([each._replace(at=round(max(0.0, clock - late + each.at / 10), 3)) for each in few])
    return log


@settings(max_examples=60, deadline=None)
@given(logs(), st.lists(st.integers(1, 40), max_size=6))
def test_closings_do_not_depend_on_where_drains_end(log, cuts):
    one = play(log)
    for other in (play(log, cuts), play(log, range(len(log)))):
        assert_frame_equal(rows(one, "closing"), rows(other, "closing"))
        assert_frame_equal(standing(one), standing(other))


@settings(max_examples=60, deadline=None)
@given(logs(), st.integers(1, 15), st.lists(st.integers(1, 40), max_size=4))
def test_a_restart_anywhere_tells_the_same_from_its_floor_on(log, stop, cuts):
    """Fails where the committed place does not go back by the hold: the first seconds would miss held load."""
    roll_up = RollUp(always(slots(), meters()))
    play(log[: min(stop, len(log))], cuts, roll_up=roll_up)
    offset, note = roll_up.places()[METER_TOPIC, 0]
    again = rows(play(log, first=offset, note=note), "closing") if offset < len(log) else rows([], "closing")
    whole = rows(play(log), "closing")
    assert_frame_equal(again, whole.filter(whole["at"] >= int(note) - START))


def kept(readings):
    rows = [
        (
            r.meter,
            round(r.at * SECOND),
            r.phase,
            r.power,
            r.energy,
            r.current,
            round(3 * SECOND * (r.interval or 1)),
            0,
            0,
        )
        for r in readings
    ]
    return MeterLog._make(np.array([[NULL if each is None else each for each in row] for row in rows], np.int64).T)


@settings(max_examples=60, deadline=None)
@given(st.lists(power_readings, min_size=1, max_size=12), st.randoms())
def test_the_order_and_repeats_of_readings_do_not_matter(readings, random):
    log, twice = kept(readings), [*range(len(readings))] * 2
    random.shuffle(twice)
    shuffled = log.pick(np.array(twice))
    first = meter_seconds(MeterReadings.of(log), 0, 30)
    assert first.schema == PARTIAL.polars
    assert_frame_equal(first, meter_seconds(MeterReadings.of(shuffled), 0, 30))


@settings(max_examples=150, deadline=None)
@given(st.lists(power_readings, min_size=2, max_size=12), st.randoms())
def test_of_two_sets_of_readings_the_fuller_is_seen_to_be(readings, random):
    """Fails where only readings that hold are counted: one that takes the place of another leaves their number."""
    full = kept({(each.meter, each.phase, each.at): each for each in readings}.values())
    poor = full.pick(np.array([random.random() < 0.7 for _ in full.time], np.bool_))
    told = {name: meter_seconds(MeterReadings.of(part), 0, 30) for name, part in (("full", full), ("poor", poor))}
    both = told["full"].join(told["poor"], on=("second", "subject"), how="full", coalesce=True, suffix="_poor")
    counted = both.select("readings", pl.col("readings_poor").fill_null(0))
    assert (counted["readings"] >= counted["readings_poor"]).all()
    values = [name for name in PARTIAL.polars if name not in ("second", "subject", "readings", "digest")]
    differs = both.select(pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_poor")) for name in values))
    assert (counted.filter(differs.to_series()).select(pl.col("readings") > pl.col("readings_poor"))).to_series().all()
