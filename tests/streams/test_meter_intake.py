"""Messages of `telemetry.power.v1` to rows: the block's way and the way row by row say the same."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from benchmarks.campus import SECOND, START
from schemas import arrow, canary
from schemas.block_admission import admits_all
from schemas.blocks import blocks_of
from schemas.facility import Facility
from schemas.message import Message
from schemas.meter import METER
from schemas.registry import assign
from schemas.subject import MeterLevel
from schemas.timeline import Timeline, Version
from streams import meter_intake
from streams.in_force import InForce
from streams.meter_intake import POWER_TOPIC, admitted, take_in
from streams.meter_log import NULL, MeterLog
from streams.meter_rows import MeterRows
from tests.schemas.small_facility import powered

REGISTRY = assign(powered())
TIMELINE = Timeline.always(REGISTRY)
IN_FORCE = InForce.of(TIMELINE)
METERS = REGISTRY.meters["meter"].to_list()
UTILITY = REGISTRY.meters.filter(level=MeterLevel.UTILITY)["meter"].item()
RACK_INPUT = REGISTRY.meters.filter(level=MeterLevel.RACK_INPUT)["meter"][0]
APPENDED = START * SECOND + 500_000
GOOD = dict.fromkeys(METER.polars) | {
    "time": START * SECOND, "meter": RACK_INPUT, "level": 6, "phase": 0, "power_watts": 9_000.0, "current_amps": 20.0,
    "interval_seconds": 1.0, "quality": 0,
}  # fmt: skip


def facility_of(watts: float) -> Facility:
    """Return the same facility with racks of another nameplate."""
    plan = powered().model_dump(exclude_unset=True, by_alias=True)
    plan["rack_types"]["box"]["nameplate_watts"] = watts
    return Facility.model_validate(plan)


def message(readings, partition=0, offset=0, headers=None):
    columns = {name: [(GOOD | reading)[name] for reading in readings] for name in METER.polars}
    physical = {name: pl.Int64 if name == "time" else dtype for name, dtype in METER.polars.items()}
    value = arrow.encode(METER, pl.DataFrame(columns, schema=physical).cast(METER.polars))
    return Message(POWER_TOPIC, partition, offset, APPENDED, b"k", value, headers or tuple(arrow.headers(METER)))


def same(one: MeterRows | MeterLog, other: MeterRows | MeterLog) -> None:
    for name, mine, theirs in zip(one._fields, one, other, strict=True):
        assert (name, mine.dtype, repr(mine.tolist())) == (name, theirs.dtype, repr(theirs.tolist()))


floats = st.one_of(st.none(), st.floats(), st.floats(0, 30_000))
changes = st.fixed_dictionaries(
    {},
    optional={
        "time": st.sampled_from((0, START * SECOND + 999_999, APPENDED + 5_000_001, None)),
        "meter": st.sampled_from((*METERS, canary.METER_ID, -1, -7, 2**31 - 1, None)),
        "level": st.sampled_from((None, 0, 1, 9, 10)),
        "phase": st.sampled_from((None, 0, 1, 3, 4, -1)),
        "interval_seconds": st.one_of(st.none(), st.floats(width=32), st.floats(0, 60, width=32)),
        "quality": st.sampled_from((None, 0, 1, 2)),
        **dict.fromkeys(("power_watts", "current_amps", "energy_joules", "apparent_va"), floats),
    },
)
good_changes = st.fixed_dictionaries(
    {},
    optional={
        "meter": st.sampled_from((*METERS, canary.METER_ID)),
        "power_watts": st.one_of(st.none(), st.floats(0, 9_000)),
        "current_amps": st.one_of(st.none(), st.floats(0, 100)),
        "interval_seconds": st.sampled_from((None, 0, 0.5, 2)),
        "quality": st.sampled_from((None, 0, 1)),
    },
)
logs = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.one_of(good_changes, changes), min_size=1, max_size=4)),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(logs, st.sampled_from(("wall", "event")))
def test_both_ways_give_the_same_rows(log, clock):
    messages = sorted(
        (message(readings, partition, offset) for offset, (partition, readings) in enumerate(log)),
        key=lambda each: (each.partition, each.offset),
    )
    rows, refused = meter_intake._row_by_row(messages, TIMELINE, clock)
    same(admitted(messages, TIMELINE, clock), MeterRows.of(rows))
    log, refusals = take_in(messages, TIMELINE, IN_FORCE, clock)
    same(log, MeterLog.of(rows.filter(pl.col("meter") != canary.METER_ID), IN_FORCE))
    assert_frame_equal(refusals, refused)


def is_taken_by_the_block(*readings):
    messages = [message(readings)]
    blocks, others = blocks_of(METER, messages, 1 << 24)
    return not others and all(admits_all(METER, block, messages, REGISTRY, clock="wall") for block in blocks)


def test_the_blocks_way_is_taken_where_all_is_good():
    """A utility draws more than twice the nameplate of a rack: each is held against its own."""
    assert is_taken_by_the_block({}, {"power_watts": None}, {"meter": UTILITY, "power_watts": 60_000.0})
    assert not is_taken_by_the_block({}, {"power_watts": 60_000.0})
    assert not is_taken_by_the_block({}, {"quality": 2})


def test_rows_come_in_log_order_whichever_way_they_came():
    messages = [message([{}], 1, 4), message([{"quality": 2}, {"phase": 1}], 0, 7), message([{}], 0, 8)]
    rows = admitted(messages, TIMELINE, "wall")
    assert list(zip(rows.partition.tolist(), rows.offset.tolist(), rows.phase.tolist(), strict=True)) == [
        (0, 7, 1), (0, 8, 0), (1, 4, 0),
    ]  # fmt: skip


def test_a_facility_that_changes_in_a_block_is_looked_at_row_by_row():
    """Rows of one block are held against the nameplates that are in force at their time."""
    later = assign(facility_of(watts=10_000.0), REGISTRY)
    versions = (*TIMELINE.versions, *(Version(part, START * SECOND + 1) for part in later.parts))
    timeline = Timeline(versions, "event")
    readings = [{"power_watts": 30_000.0}, {"power_watts": 30_000.0, "time": START * SECOND + 1}]
    assert admitted([message(readings)], timeline, "wall").time.tolist() == [START * SECOND]


def test_a_meter_that_joins_in_a_block_holds_from_the_second_from_which_it_is_registered():
    later = assign(facility_of(watts=10_000.0), REGISTRY)
    before = InForce([(0, START + 1, NoMeters()), (START + 1, 2**40, REGISTRY)])
    said = [{}, {"time": (START + 1) * SECOND}]
    log, _ = take_in([message(said)], Timeline.always(later), before, "event")
    assert log.hold.tolist() == [NULL, 3 * SECOND]


class NoMeters:
    slots = REGISTRY.slots
    meters = REGISTRY.meters.clear()
    limits = REGISTRY.limits


def test_a_source_that_says_no_interval_is_held_by_that_of_the_registry():
    """The source's own counts, within three minutes."""
    intervals = IN_FORCE.between(START, START + 1)[0].intervals
    by_registry = round(3 * SECOND * intervals.of(np.array([RACK_INPUT]))[0])
    said = [{"interval_seconds": each} for each in (None, 0.0, 2.0, 3_600.0)]
    log, _ = take_in([message(said)], TIMELINE, IN_FORCE, "wall")
    assert log.hold.tolist() == [by_registry, by_registry, 6 * SECOND, 180 * SECOND]
