"""Admission: what is refused, how it is quantized, and that a good row is never touched."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.admission import QUANTIZED, admit
from schemas.admission_rules import CLOCK_AHEAD_SECS, EARLIEST, LATEST
from schemas.arrow import PLACE_COLUMNS
from schemas.column import Record
from schemas.decode import decode
from schemas.facility import load
from schemas.gpu import GPU
from schemas.message import Message
from schemas.meter import METER
from schemas.registry import assign
from schemas.subject import SubjectKind
from tests.conftest import REPOSITORY

NOW = 1_767_225_600_000_000
NO_LIMITS = pl.DataFrame(schema={"kind": pl.Int8, "id": pl.Int32, "limit": pl.String, "watts": pl.Float64})
NO_METERS = pl.DataFrame(schema={"meter": pl.Int32, "subject_kind": pl.Int8, "subject": pl.Int32})
NO_SLOTS = pl.DataFrame(schema={"node": pl.Int32, "gpu": pl.Int32, "nameplate_watts": pl.Float64})


def decoded(record: Record, **columns: object) -> pl.DataFrame:
    """Return decoded rows: good identities at NOW, `columns` (a value or a list) over them."""
    rows = max((len(value) for value in columns.values() if isinstance(value, list)), default=1)
    frame = pl.DataFrame({"_row": pl.int_range(rows, eager=True, dtype=pl.Int32)})
    identity = {"time": NOW, "rack": 1, "node": 1, "gpu": 0, "meter": 1, "phase": 0, "_appended": NOW}
    given = identity | {"_partition": 0, "_offset": 0} | columns
    schema = record.polars | PLACE_COLUMNS
    return frame.with_columns(
        pl.Series(name, value if isinstance(value, list) else [value] * rows, strict=False).cast(
            pl.Int64 if name in ("time", "_appended") else dtype
        ).cast(dtype)
        if (value := given.get(name)) is not None
        else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
        if name != "_row"
    ).select(list(schema))  # fmt: skip


def reasons(record: Record, frame: pl.DataFrame, registry: object = None, clock: str = "wall") -> list[tuple]:
    refused = admit(record, frame, registry, clock=clock).refused
    return refused.select("row", "reason", "field").rows()


def test_rows_that_are_good_pass_as_they_are() -> None:
    frame = decoded(GPU, power_watts=[0.0, 700.1, None], utilization_fraction=[0.0, 1.0, None], _row=[0, 1, 2])
    rows = admit(GPU, frame, None, clock="wall").rows
    assert_frame_equal(rows.select(frame.columns), frame)
    assert rows["power_deciwatts"].to_list() == [0, 7001, None]
    assert rows["utilization_e4"].to_list() == [0, 10_000, None]


def test_halves_round_to_even_as_numpy_does() -> None:
    watts = [0.25, 0.75, 1.25, 700.05, 700.15, 19_999.95]
    rows = admit(GPU, decoded(GPU, power_watts=watts), None, clock="wall").rows
    expected = np.rint(np.array(watts, np.float32).astype(np.float64) * 10).astype(int)
    assert rows["power_deciwatts"].to_list() == expected.tolist()
    milli = [0.0005, 0.0015, 123.4565, -0.0]
    meters = admit(METER, decoded(METER, power_watts=milli), None, clock="wall").rows
    assert meters["power_milliwatts"].to_list() == np.rint(np.array(milli) * 1000).astype(int).tolist()


@pytest.mark.parametrize("record", [GPU, METER])
def test_the_greatest_values_allowed_fit_their_integers(record: Record) -> None:
    bounded = {c.name: c.high for c in record.columns if c.high is not None and c.name not in ("phase", "gpu")}
    admitted = admit(record, decoded(record, **bounded), None, clock="wall")
    assert admitted.refused.is_empty()
    for quantum in QUANTIZED[record.name]:
        assert admitted.rows[quantum.name][0] == round(bounded[quantum.source] * quantum.scale)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("power_watts", math.nan, "not_a_number"),
        ("power_watts", math.inf, "not_a_number"),
        ("power_watts", -math.inf, "not_a_number"),
        ("power_watts", -0.1, "out_of_range"),
        ("utilization_fraction", 1.01, "out_of_range"),
        ("temperature_celsius", -61.0, "out_of_range"),
        ("memory_used_bytes", -1, "out_of_range"),
        ("gpu", 1024, "out_of_range"),
        ("averaging", 2, "out_of_range"),
        ("rack", [None], "missing_field"),
    ],
)
def test_one_bad_value_refuses_its_row_alone(column: str, value: object, reason: str) -> None:
    bad = value[0] if isinstance(value, list) else value
    good = 1 if column != "utilization_fraction" else 0.5
    frame = decoded(GPU, **{column: [good, bad, good]})
    admitted = admit(GPU, frame, None, clock="wall")
    assert admitted.rows["_row"].to_list() == [0, 2]
    assert reasons(GPU, frame) == [(1, reason, column)]


def test_a_row_with_several_faults_is_refused_once() -> None:
    frame = decoded(GPU, power_watts=[math.nan], gpu=[-1], time=[0])
    assert reasons(GPU, frame) == [(0, "bad_time", "time")]


@pytest.mark.parametrize(("micros", "is_good"), [(EARLIEST, True), (EARLIEST - 1, False), (LATEST, False)])
def test_the_bounds_of_time_are_half_open(micros: int, is_good: bool) -> None:
    refused = admit(GPU, decoded(GPU, time=[micros]), None, clock="event").refused
    assert refused.is_empty() == is_good


@pytest.mark.parametrize(("clock", "ahead", "is_good"), [("wall", 0, True), ("wall", 1, False), ("event", 1, True)])
def test_skew_is_judged_against_the_append_time_on_the_wall_clock_only(clock: str, ahead: int, is_good: bool) -> None:
    frame = decoded(GPU, time=[NOW + CLOCK_AHEAD_SECS * 1_000_000 + ahead])
    assert (reasons(GPU, frame, clock=clock) == []) == is_good


def test_recorded_times_of_the_past_are_never_too_old() -> None:
    assert reasons(GPU, decoded(GPU, time=[NOW - 10 * 365 * 86_400_000_000])) == []


def test_seconds_and_milliseconds_are_told_as_what_they_look_like() -> None:
    refused = admit(GPU, decoded(GPU, time=[NOW // 1_000_000, NOW // 1000, NOW * 1000]), None, clock="wall").refused
    hints = [unit for said in refused["message"] for unit in ("milliseconds", "nanoseconds", "seconds") if unit in said]
    assert hints[0] == "seconds"
    assert "milliseconds" in refused["message"][1]
    assert "nanoseconds" in refused["message"][2]


def test_more_than_twice_the_nameplate_of_a_gpu_is_absurd() -> None:
    slots = pl.DataFrame(
        {"rack": [1, 1], "node": [1, 1], "gpu": [0, 1], "nameplate_watts": [300.0, 1200.0]},
        schema_overrides={"node": pl.Int32, "gpu": pl.Int32},
    )
    registry = SimpleNamespace(slots=slots, meters=NO_METERS, limits=NO_LIMITS)
    frame = decoded(GPU, gpu=[0, 0, 1, 2, 0], node=[1, 1, 1, 1, -5], power_watts=[600.0, 600.1, 2400.0, 9000.0, 9000.0])
    assert reasons(GPU, frame, registry) == [(1, "absurd_power", "power_watts")]


def test_more_than_twice_the_nameplate_behind_a_meter_is_absurd() -> None:
    kind = int(SubjectKind.RACK)
    meters = pl.DataFrame({"meter": [1, 2], "subject_kind": [kind] * 2, "subject": [7, 8]}, schema=NO_METERS.schema)
    limits = pl.DataFrame(
        [(kind, 7, "nameplate", 1e5), (kind, 8, "budget", 1.0)], schema=NO_LIMITS.schema, orient="row"
    )
    registry = SimpleNamespace(slots=NO_SLOTS, meters=meters, limits=limits)
    frame = decoded(METER, meter=[1, 1, 2, 3], power_watts=[2e5, 2e5 + 1, 9e8, 9e8])
    assert reasons(METER, frame, registry) == [(1, "absurd_power", "power_watts")]


def test_readings_of_mig_instances_stay() -> None:
    frame = decoded(GPU, instance=[None, 0, 6], power_watts=[700.0, 700.0, 700.0])
    assert admit(GPU, frame, None, clock="wall").rows["instance"].to_list() == [None, 0, 6]


values = st.one_of(st.none(), st.floats(width=32), st.floats(min_value=0, max_value=1000, width=32))


@settings(max_examples=60, deadline=None)
@given(st.lists(values, min_size=1, max_size=40))
def test_each_row_is_admitted_or_refused_and_never_both(watts: list[float | None]) -> None:
    admitted = admit(GPU, decoded(GPU, power_watts=watts), None, clock="wall")
    allowed = [w is None or (not math.isnan(w) and 0 <= w <= 20_000) for w in watts]
    assert admitted.rows["_row"].to_list() == [row for row, good in enumerate(allowed) if good]
    assert admitted.refused["row"].to_list() == [row for row, good in enumerate(allowed) if not good]


def test_a_facility_as_it_is_published_knows_its_nameplates() -> None:
    """The protocols that decoding and admission ask for are what the registry really has."""
    registry = assign(load(REPOSITORY / "examples" / "halo-2mw.toml"), None)
    slot = registry.slots.row(0, named=True)
    identity = {name: slot[name] for name in ("rack", "node", "gpu")}
    watts = [slot["nameplate_watts"], 2 * slot["nameplate_watts"] + 1]
    assert reasons(GPU, decoded(GPU, **identity, power_watts=watts), registry) == [(1, "absurd_power", "power_watts")]
    meter = registry.meters.row(0, named=True)
    line = b'{"time":%d,"meter":"%s"}' % (NOW, meter["path"].encode())
    frame = decode("telemetry.power.v1", [Message("telemetry.power.v1", 0, 0, NOW, b"k", line)], registry).frame
    assert frame.select("meter", "level", "_name").rows() == [(meter["meter"], meter["level"], None)]
