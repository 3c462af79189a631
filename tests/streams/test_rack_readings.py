"""Values of gauges follow from the logs alone: not from drains, duplicates, or which partition came first."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.meter import METER
from streams.gauge import AMPS, POWER, SECOND, Gauges
from streams.meter_rows import MeterRows
from streams.rack_readings import Evaluations, pass_by, read
from streams.reading_state import ReadingState, nothing_read, silent_for

Reading = tuple[int, int, float]
"""meter, time in seconds, watts"""

METERS_OF = {0: [1, 2], 1: [3, 4, 5], 2: [6]}
PARTITION_OF = {1: 0, 2: 1, 3: 0, 4: 0, 5: 0, 6: 1}
HOLD = 3


def gauges(metric: int = POWER, phases: tuple[int, ...] = (0,)) -> Gauges:
    rows = [
        (gauge, 4, gauge + 100, metric, meter, phase, HOLD * SECOND)
        for gauge, meters in METERS_OF.items()
        for meter in meters
        for phase in phases
    ]
    columns = ["gauge", "subject_kind", "subject", "metric", "meter", "phase", "hold"]
    return Gauges(pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.Int64), orient="row"))


def frame(rows: list[dict[str, object]]) -> MeterRows:
    schema = METER.polars | {"_partition": pl.Int32, "_offset": pl.Int64}
    empty = dict.fromkeys(schema)
    return MeterRows.of(pl.DataFrame([empty | row for row in rows], schema=schema, orient="row"))


def rows_of(partition: int, first_offset: int, readings: list[Reading]) -> list[dict[str, object]]:
    return [
        {
            "time": round(time * SECOND),
            "meter": meter,
            "phase": 0,
            "power_watts": watts,
            "_partition": partition,
            "_offset": first_offset + nth,
        }
        for nth, (meter, time, watts) in enumerate(readings)
    ]


def listed(told: list[Evaluations]) -> dict[int, list[tuple[float, float, bool]]]:
    found = defaultdict(list)
    for each in told:
        for gauge, at, value, high, *_ in zip(*each, strict=True):
            found[int(gauge)].append((at / SECOND, float(value), bool(high == value)))
    return dict(found)


def plainly(logs: dict[int, list[Reading]], meters: list[int]) -> list[tuple[float, float, bool]]:
    """Evaluate one gauge reading by reading: what counts from when, then the value at each trigger."""
    heard, counting = dict.fromkeys(meters, -999.0), defaultdict(list)
    triggers, shares = set(), len({PARTITION_OF[meter] for meter in meters}) == 1
    reached = {}
    for partition, log in logs.items():
        newest = watermark = mark = -999.0
        for meter, time, watts in log:
            mine = meter in meters
            has_gone_on = shares and watermark - mark > HOLD + 10 and mark > -999
            passed = max(heard[meter], newest if has_gone_on else newest - HOLD) if mine else 0.0
            watermark = max(watermark, time)
            if mine and time > heard[meter]:
                heard[meter], mark = time, watermark
                counting[meter].append((time if time > passed else passed + 1e-6, time, watts))
                if time > passed:
                    triggers.add(time)
            if mine or not shares:
                newest = max(newest, time)
        has_gone_on = shares and watermark - mark > HOLD + 10 and mark > -999
        reached[partition] = newest + HOLD if has_gone_on else newest
    end = min(max(heard[meter], reached[PARTITION_OF[meter]] - HOLD) for meter in meters)
    if len(meters) == 1:
        end = heard[meters[0]]
    told = []
    for at in sorted(trigger for trigger in triggers if trigger <= end):
        shown = [max((each for each in counting[meter] if each[0] <= at), default=None) for meter in meters]
        held = [each[2] for each in shown if each and at - each[1] <= HOLD]
        told.append((at, float(sum(held)), len(held) == len(meters)))
    return told


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.0, 4.0, 15.0]),
        st.sampled_from([0.0, 0.0, 1.0, 5.0]),
        st.integers(0, 5),
        st.integers(0, 9),
    ),
    max_size=25,
)


def log_of(partition: int, steps: list[tuple[float, float, int, int]]) -> list[Reading]:
    """Write a partition's log: its clock goes on, some readings lag behind it, some meters go silent."""
    meters = [meter for meter, home in PARTITION_OF.items() if home == partition]
    log, clock = [(meter, 0.0, 1.0) for meter in meters], 0.0
    for gap, lag, nth, watts in steps:
        clock += gap
        log.append((meters[nth % len(meters)], max(clock - lag, 0.25), float(watts)))
    return log


CUTS = st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6), st.integers(0, 5)), max_size=12)


@given(STEPS, STEPS, CUTS)
@settings(max_examples=300, deadline=None)
def test_the_values_depend_on_nothing_but_each_partition_s_log(
    first: list[tuple[float, float, int, int]],
    second: list[tuple[float, float, int, int]],
    cuts: list[tuple[bool, int, int, int]],
) -> None:
    logs = {0: log_of(0, first), 1: log_of(1, second)}
    left = {partition: rows_of(partition, 0, log) for partition, log in logs.items()}
    state, told, drained = nothing_read(gauges(), 2), [], []
    for is_turned, of_first, of_second, again in [*cuts, (False, 99, 99, 3)]:
        some, more = left[0][:of_first], left[1][:of_second]
        rows = more + some if is_turned else some + more
        left = {0: left[0][of_first:], 1: left[1][of_second:]}
        repeated = drained[len(drained) - again :] if again else []
        state, evaluations = read(gauges(), state, frame(repeated + rows))
        drained += rows
        told.append(evaluations)
    expected = {gauge: plainly(logs, meters) for gauge, meters in METERS_OF.items()}
    assert listed(told) == {gauge: values for gauge, values in expected.items() if values}


def one_drain(readings: list[Reading], state: ReadingState | None = None) -> tuple[ReadingState, Evaluations]:
    return read(gauges(), state or nothing_read(gauges(), 2), frame(rows_of(0, 0, readings)))


def test_a_and_b_side_are_summed_at_one_instant_and_not_across_a_shift_of_load() -> None:
    _, told = one_drain(
        [(3, 0, 50.0), (4, 0, 50.0), (5, 0, 0.0), (3, 1, 90.0), (4, 1, 10.0), (5, 1, 0.0), (3, 2, 90.0)]
    )
    assert listed([told]) == {1: [(0.0, 100.0, True), (1.0, 100.0, True)]}


def test_a_meter_silent_beyond_its_hold_no_longer_holds_the_others_up() -> None:
    state, told = one_drain([(3, 0, 50.0), (4, 0, 40.0), (5, 0, 0.0)])
    state, told = one_drain([(3, t, 60.0) for t in range(1, 8)] + [(5, t, 0.0) for t in range(1, 8)], state)
    assert listed([told])[1] == [(1.0, 100.0, True), (2.0, 100.0, True), (3.0, 100.0, True), (4.0, 60.0, False)]


def test_an_idle_partition_passes_by_its_note() -> None:
    state, _ = read(gauges(), nothing_read(gauges(), 2), frame(rows_of(1, 0, [(2, 0, 40.0)])))
    state, told = one_drain([(1, 0, 50.0), (1, 3, 51.0), (1, 4, 52.0)], state)
    assert listed([told]) == {0: [(0.0, 90.0, True)]}
    state, told = pass_by(gauges(), state, 1, 7 * SECOND)
    assert listed([told]) == {0: [(3.0, 91.0, True), (4.0, 52.0, False)]}


def test_an_open_partition_holds_nothing_up_until_its_next_reading() -> None:
    state, _ = read(gauges(), nothing_read(gauges(), 2), frame(rows_of(1, 0, [(2, 0, 40.0)])))
    state, _ = one_drain([(1, 0, 50.0), (1, 100, 51.0)], state)
    state, told = pass_by(gauges(), state, 1, None)
    assert listed([told]) == {0: [(100.0, 51.0, False)]}
    state, told = read(gauges(), state, frame(rows_of(1, 1, [(2, 101, 41.0)])))
    state, told = one_drain([(1, 101, 50.0), (1, 102, 50.0)], state)
    assert listed([told]) == {0: [(101.0, 91.0, True)]}


def test_a_suspect_reading_may_prove_a_breach_but_never_that_all_is_well() -> None:
    rows = rows_of(1, 0, [(6, 0, 5.0)])
    rows[0]["quality"] = 1
    _, told = read(gauges(), nothing_read(gauges(), 2), frame(rows))
    assert (told.value[0], told.high[0]) == (5.0, float("inf"))


def test_missing_power_is_no_reading_and_zero_is_one() -> None:
    rows = rows_of(1, 0, [(6, 0, 0.0), (6, 1, 1.0)])
    rows[1]["power_watts"] = None
    _, told = read(gauges(), nothing_read(gauges(), 2), frame(rows))
    assert listed([told]) == {2: [(0.0, 0.0, True)]}


@pytest.mark.parametrize("together", [True, False])
def test_amps_are_the_worst_phase_and_phases_may_come_in_messages_of_their_own(together: bool) -> None:
    amps = [(0.0, 1, 10.0), (0.0, 2, 30.0), (0.0, 3, 20.0), (1.0, 1, 10.0), (1.0, 2, 12.0), (1.0, 3, 11.0)]
    rows = [
        {
            "time": round(time * SECOND),
            "meter": 6,
            "phase": phase,
            "current_amps": value,
            "_partition": 0,
            "_offset": int(time) if together else nth,
        }
        for nth, (time, phase, value) in enumerate(amps)
    ]
    watched = gauges(AMPS, (0, 1, 2, 3))
    _, told = read(watched, nothing_read(watched, 1), frame(rows))
    assert listed([told])[2][-1] == (1.0, 12.0, True)
    assert [value for at, value, _ in listed([told])[2] if at == 0.0][-1] == 30.0


def test_silence_is_measured_by_how_far_the_log_has_gone_on_since() -> None:
    state, _ = one_drain([(3, 0, 1.0), (4, 0, 1.0), (5, 0, 1.0), (3, 100, 1.0)])
    assert list(silent_for(gauges(), state, gauges().some(np.arange(3)))) == [0, 0, 0]
    state, _ = one_drain([(5, 170, 1.0), (4, 165, 1.0), (3, 165, 1.0)], state)
    state, _ = read(gauges(), state, frame(rows_of(1, 0, [(6, 3, 1.0), (2, 3, 1.0), (2, 90, 1.0)])))
    assert list(silent_for(gauges(), state, gauges().some(np.arange(3))) // SECOND) == [0, 0, 87]
