"""Sums of subjects equal what plain Python adds up, and say honestly what is missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.facility import load
from schemas.partial import PARTIAL
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from schemas.window import WINDOW
from streams.members import Members, members_of
from streams.minutes import MINUTE, minutes_of, windows_of
from streams.sums import MISSING, SECOND, Block, Sources, assemble, subjects_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "halo-2mw.toml"
START = 1_721_116_800 * SECOND


@pytest.fixture(scope="module")
def registry() -> Registry:
    return assign(load(EXAMPLE))


@pytest.fixture(scope="module")
def members(registry: Registry) -> Members:
    return members_of(registry)


def partial(second: int, kind: SubjectKind, subject: int, **columns: object) -> dict[str, object]:
    nothing = dict.fromkeys(PARTIAL.polars) | {
        "utilization_count": 0, "expected": 1, "reporting": 1, "readings": 1, "digest": 7, "stream": 0,
    }  # fmt: skip
    row = {"second": START + second * SECOND, "subject_kind": int(kind), "subject": subject}
    return nothing | row | columns


def frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=PARTIAL.polars | {"stream": pl.Int64}, orient="row")


def metered(second: int, meter: int, milliwatts: int | None, **columns: object) -> dict[str, object]:
    return partial(
        second, SubjectKind.METER, meter,
        power_milliwatts=milliwatts, power_max_milliwatts=milliwatts, reporting=int(milliwatts is not None), **columns,
    )  # fmt: skip


def index_of(members: Members, kind: SubjectKind, subject: int) -> int:
    is_it = (members.subjects["subject_kind"] == kind) & (members.subjects["subject"] == subject)
    return int(is_it.arg_true()[0])


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_every_subject_is_the_sum_of_its_meters(registry: Registry, members: Members, data: st.DataObject) -> None:
    meters = registry.meters["meter"].to_list()
    seed = data.draw(st.integers(0, 2**32 - 1))
    draw = np.random.default_rng(seed)
    watts = {(s, m): int(draw.integers(0, 10**12)) for s in range(3) for m in meters if draw.random() < 0.8}
    rows = [metered(s, m, value, digest=int(draw.integers(-(2**63), 2**63))) for (s, m), value in watts.items()]
    draw.shuffle(rows)
    if not rows:
        return
    block = assemble(members, frame(rows))
    wanted: dict[tuple[int, int], list[int]] = {}
    for kind, subject, meter in registry.sums.select("subject_kind", "subject", "meter").iter_rows():
        wanted.setdefault((kind, subject), []).append(meter)
    for rack, row, hall, site in registry.racks.select("rack", "row", "hall", "site").iter_rows():
        for kind, place in ((SubjectKind.ROW, row), (SubjectKind.HALL, hall)):
            wanted.setdefault((kind, place), []).extend(wanted.get((SubjectKind.RACK, rack), []))
        assert (SubjectKind.SITE, site) in wanted
    for (kind, subject), its_meters in wanted.items():
        where = index_of(members, SubjectKind(kind), subject)
        for nth, second in enumerate((block.seconds - START) // SECOND):
            found = [watts[second, meter] for meter in its_meters if (second, meter) in watts]
            assert block.power[nth, where] == (sum(found) if found else MISSING)
            assert block.reporting[nth, where] == len(found)
            if kind not in (SubjectKind.ROW, SubjectKind.HALL):
                assert block.expected[nth, where] == len(its_meters)


def test_zero_is_not_missing(registry: Registry, members: Members) -> None:
    site, meter = registry.sums.filter(pl.col("subject_kind") == SubjectKind.SITE).select("subject", "meter").row(0)
    block = assemble(members, frame([metered(0, meter, 0), metered(1, meter, None)]))
    where = index_of(members, SubjectKind.SITE, site)
    assert list(block.power[:, where]) == [0, MISSING]
    windows = windows_of(members, block, every_seconds=1)
    shown = windows.filter((pl.col("subject_kind") == SubjectKind.SITE) & (pl.col("subject") == site))
    assert shown["power_watts"].to_list() == [0.0, None]


def test_the_bounds_of_a_rack_with_a_silent_side(registry: Registry, members: Members) -> None:
    inputs = registry.sums.filter(pl.col("subject_kind") == SubjectKind.RACK).group_by("subject", maintain_order=True)
    rack, meters = next((s[0], f["meter"].to_list()) for s, f in inputs if len(f) == 2)
    block = assemble(members, frame([metered(0, meters[0], 60_000_000)]))
    where = index_of(members, SubjectKind.RACK, rack)
    nameplate = registry.racks.filter(pl.col("rack") == rack)["nameplate_watts"][0]
    # Both sides share the nameplate: the silent one draws at most what the other leaves of it.
    assert (block.low[0, where], block.high[0, where]) == (60_000_000, round(nameplate * 1000))
    more = assemble(members, frame([metered(0, meters[0], round(nameplate * 1000) + 5)]))
    assert more.low[0, where] == more.high[0, where] == round(nameplate * 1000) + 5
    assert (block.expected[0, where], block.reporting[0, where]) == (2, 1)


def test_gpus_give_a_rack_its_utilization_and_not_its_power_where_it_is_metered(
    registry: Registry, members: Members
) -> None:
    meters = registry.sums.filter(pl.col("subject_kind") == SubjectKind.RACK)
    rack = meters["subject"][0]
    gpus = partial(
        0, SubjectKind.RACK, rack, power_milliwatts=50_000_000, utilization_sum_e4=3 * 7_500, utilization_count=3,
        temperature_max_decicelsius=713, expected=4, reporting=3, readings=3,
    )  # fmt: skip
    rows = [metered(0, meter, 30_000_000) for meter in meters.filter(pl.col("subject") == rack)["meter"]]
    windows = windows_of(members, assemble(members, frame([gpus, *rows])), every_seconds=1)
    shown = windows.filter((pl.col("subject_kind") == SubjectKind.RACK) & (pl.col("subject") == rack)).to_dicts()[0]
    assert shown["power_watts"] == 30_000.0 * len(rows)
    assert (shown["utilization_fraction"], shown["temperature_max_celsius"]) == (0.75, 71.3)
    assert (shown["expected"], shown["reporting"]) == (len(rows), len(rows))
    assert shown["version_readings"] == 3 + len(rows)


def test_an_unmetered_rack_is_an_estimate_with_the_modelled_rest(registry: Registry) -> None:
    gone = ("meters", "feed_racks")
    bare = Registry(
        tuple(
            replace(part, frames=part.frames | {name: part.frames[name].clear() for name in gone})
            for part in registry.parts
        )
    )
    members = members_of(bare)
    rack, rest, gpus = bare.racks.filter(pl.col("rest_watts") > 0).select("rack", "rest_watts", "gpus").row(0)
    rows = [
        partial(
            0,
            SubjectKind.RACK,
            rack,
            power_milliwatts=50_000_000,
            energy_millijoules=50_000_000,
            energy_method=3,
            expected=gpus,
            reporting=gpus,
        ),
        partial(0, SubjectKind.RACK, rack + 1, power_milliwatts=10_000_000, expected=gpus, reporting=gpus),
    ]
    windows = windows_of(members, assemble(members, frame(rows)), every_seconds=1)
    shown = windows.filter((pl.col("subject_kind") == SubjectKind.RACK) & (pl.col("subject") == rack)).to_dicts()[0]
    assert (shown["power_watts"], shown["power_basis"]) == (50_000.0 + rest, 3)
    assert shown["energy_joules"] == 50_000.0 + rest
    assert set(windows["subject_kind"]) == {1, 2, 3, 4}


def test_gpus_of_a_rack_from_two_streams_add_up_and_a_meter_counts_once(registry: Registry, members: Members) -> None:
    rack, meter = registry.sums.filter(pl.col("subject_kind") == SubjectKind.RACK).select("subject", "meter").row(0)
    half = {"utilization_sum_e4": 10_000, "utilization_count": 2, "expected": 4, "reporting": 2}
    rows = [partial(0, SubjectKind.RACK, rack, stream=stream, digest=stream, **half) for stream in (0, 1)]
    rows += [metered(0, meter, 5, stream=2, readings=1), metered(0, meter, 7, stream=3, readings=2)]
    block = assemble(members, frame(rows))
    where = index_of(members, SubjectKind.RACK, rack)
    assert (block.utilization_count[0, where], block.power[0, where]) == (4, 7)


GPUS = 4
OF_ALL = {"utilization_count": GPUS, "utilization_sum_e4": 10_000, "reporting": GPUS, "readings": GPUS}


@pytest.mark.parametrize(
    ("other", "version"),
    [
        pytest.param(OF_ALL | {"digest": 1}, (4, 1), id="the same message in two partitions"),
        pytest.param(OF_ALL | {"digest": 2, "readings": 5}, (9, 3), id="one has a late reading"),
        pytest.param(
            {"utilization_count": 1, "utilization_sum_e4": 900, "reporting": 1, "readings": 1, "digest": 2},
            (5, 3), id="one GPU of them again",
        ),
    ],
)  # fmt: skip
def test_a_rack_in_two_partitions_never_has_more_gpus_than_there_are(
    registry: Registry, members: Members, other: dict[str, int], version: tuple[int, int]
) -> None:
    rack = registry.sums.filter(pl.col("subject_kind") == SubjectKind.RACK)["subject"][0]
    both = [OF_ALL | {"digest": 1}, other]
    rows = [partial(0, SubjectKind.RACK, rack, stream=n, **each | {"expected": GPUS}) for n, each in enumerate(both)]
    sources = Sources(members, frame(rows))
    block, where = subjects_of(sources), index_of(members, SubjectKind.RACK, rack)
    assert (block.utilization_count[0, where], block.utilization_sum[0, where]) == (GPUS, 10_000)
    assert (sources.rows["readings"].sum(), sources.rows["digest"].sum()) == version
    assert (sources.rows["reporting"] <= GPUS).all()
    is_asked = other["digest"] != 1
    assert (len(sources.contradicted) > 0) == is_asked


@pytest.mark.parametrize(("reporting", "is_asked"), [(2, False), (1, True)])
def test_two_halves_of_a_rack_are_asked_for_where_they_are_not_the_whole(
    registry: Registry, members: Members, reporting: int, is_asked: bool
) -> None:
    """Halves without a silent GPU are disjoint; else one GPU may be in both, and only the lake can tell."""
    rack = registry.sums.filter(pl.col("subject_kind") == SubjectKind.RACK)["subject"][0]
    rows = [
        partial(0, SubjectKind.RACK, rack, stream=n, digest=n, expected=GPUS, reporting=each, utilization_count=each)
        for n, each in enumerate((2, reporting))
    ]
    sources = Sources(members, frame(rows))
    assert sources.rows["reporting"].to_list() == [2 + reporting]
    assert (len(sources.contradicted) > 0) == is_asked


def one_subject(powers: list[int | None]) -> Block:
    """Make a block of one subject whose seconds stand in a row from START."""
    column = np.array([MISSING if power is None else power for power in powers]).reshape(-1, 1)
    there = (column != MISSING).astype(np.int64)
    seconds = START + np.arange(len(powers)) * SECOND
    age = np.where(there == 1, 250_000, MISSING)
    return Block(
        seconds, column, column, column, column, column, column, column, there, there, column,
        np.ones_like(there), there, age, there, there, np.ones_like(there),
    )  # fmt: skip


@given(st.lists(st.none() | st.integers(0, 10**12), min_size=1, max_size=200))
@settings(deadline=None)
def test_a_minute_is_the_mean_of_its_seconds_that_reported_and_its_bounds_are_of_all(powers: list[int | None]) -> None:
    block = one_subject(powers)
    minutes = minutes_of(block)
    for nth, start in enumerate(range(0, len(powers), 60)):
        seconds = powers[start : start + 60]
        found = [power for power in seconds if power is not None]
        assert minutes.seconds[nth] == START // MINUTE * MINUTE + nth * MINUTE
        assert minutes.power[nth, 0] == (round(sum(found) / len(found)) if found else MISSING)
        assert minutes.energy[nth, 0] == (sum(found) if found else MISSING)
        assert minutes.reporting[nth, 0] == int(None not in seconds)
        assert minutes.low[nth, 0] == (round(sum(found) / len(seconds)) if found else MISSING)
        assert minutes.high[nth, 0] == (MISSING if None in seconds else minutes.power[nth, 0])
        if found:
            silent_at_end = 60 - max(i for i, power in enumerate(seconds) if power is not None) - 1
            assert minutes.oldest_age[nth, 0] == 250_000 + silent_at_end * SECOND


def test_windows_are_of_the_record_and_of_the_right_second(members: Members) -> None:
    block = assemble(members, frame([metered(5, 1, 1)]))
    windows = windows_of(members, block, every_seconds=1)
    assert windows.schema == pl.Schema(WINDOW.polars)
    assert windows["window_start"].unique().to_list() == [datetime(2024, 7, 16, 8, 0, 5)]
    assert windows.select("subject_kind", "subject").is_duplicated().sum() == 0
