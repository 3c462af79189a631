"""The timeline: every second has one registry, whenever and in which order one asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.admission import admit
from schemas.arrow import PLACE_COLUMNS
from schemas.errors import ConfigurationError
from schemas.meter import METER
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from schemas.timeline import EVER, FOREVER, LEAD_SECS, SECOND, Clock, Published, Timeline, admit_in_force
from tests.schemas.small_facility import facility, site

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = int(NOON.timestamp()) * SECOND


def grown(*racks_by_version: list[str], starts: list[float], name: str = "ruh") -> list[Registry]:
    """Return one registry a version; `starts` in seconds after NOON."""
    registries: list[Registry] = []
    for ids, start in zip(racks_by_version, starts, strict=True):
        plan = facility(site({"r01": {"type": "box", "ids": ids}}, name=name))
        previous = registries[-1] if registries else None
        registries.append(assign(plan, previous, effective_from=NOON + timedelta(seconds=start)))
    return registries


def published(registry: Registry, appended: float, name: str = "ruh") -> Published:
    part = next(part for part in registry.parts if part.site == name)
    return Published(part, AT + round(appended * SECOND))


def racks(registry: Registry) -> set[str]:
    return {path.rpartition("/")[2] for path in registry.racks["path"]}


def test_a_version_counts_from_its_second_and_the_first_one_ever() -> None:
    one, two = grown(["k01"], ["k01", "k02"], starts=[0, 100])
    timeline = Timeline.of([published(one, -5), published(two, 50)], "wall")
    assert racks(timeline.at(EVER)) == racks(timeline.at(AT + 100 * SECOND - 1)) == {"k01"}
    assert racks(timeline.at(AT + 100 * SECOND)) == racks(timeline.at(FOREVER - 1)) == {"k01", "k02"}
    assert [(epoch.start, epoch.end) for epoch in timeline.epochs] == [
        (EVER, AT + 100 * SECOND),
        (AT + 100 * SECOND, FOREVER),
    ]
    assert timeline.newest_version("ruh").start == AT + 100 * SECOND


@pytest.mark.parametrize(("clock", "counts"), [("wall", 61 + LEAD_SECS), ("event", 10)])
def test_what_is_published_late_counts_late_unless_it_is_a_replay(clock: Clock, counts: int) -> None:
    one, two = grown(["k01"], ["k02"], starts=[0, 10])
    timeline = Timeline.of([published(one, 0), published(two, 60.2)], clock)
    assert timeline.newest_version("ruh").start == AT + counts * SECOND


def test_the_first_version_of_a_later_site_may_say_how_it_has_been() -> None:
    (one,) = grown(["k01"], starts=[0])
    later = facility(site({"r01": {"type": "box", "ids": ["k09"]}}, name="dmm"))
    two = assign(later, one, effective_from=NOON - timedelta(days=400))
    timeline = Timeline.of([published(one, 0), published(two, 60, "dmm")], "wall")
    assert racks(timeline.at(AT)) == {"k01", "k09"}
    assert racks(timeline.at(AT - 401 * 86_400 * SECOND)) == {"k01"}


def test_the_greatest_version_wins_where_a_later_one_counts_earlier() -> None:
    one, two, three = grown(["k01"], ["k02"], ["k03"], starts=[0, 100, 50])
    timeline = Timeline.of([published(one, 0), published(two, 1), published(three, 2)], "wall")
    assert [racks(epoch.registry) for epoch in timeline.epochs] == [{"k01"}, {"k03"}]


def test_a_version_with_the_ids_of_another_site_is_not_in_force() -> None:
    (ruh,) = grown(["k01"], starts=[0])
    (dmm,) = grown(["k01"], starts=[0], name="dmm")
    timeline = Timeline.of([published(ruh, 0)], "wall")
    with pytest.raises(ConfigurationError, match="one id was given to"):
        timeline.with_(published(dmm, 1, "dmm"))
    assert Timeline.of([published(ruh, 0), published(dmm, 1, "dmm")], "wall").newest.sites["path"].to_list() == ["ruh"]


def test_a_registry_stays_the_same_object_as_the_timeline_grows() -> None:
    one, two = grown(["k01"], ["k02"], starts=[0, 100])
    before = Timeline.of([published(one, 0)], "wall")
    after = before.with_(published(two, 1))
    assert after.at(AT) is before.at(AT)
    assert after.at(AT) is after.epochs[0].registry


def test_a_path_keeps_its_id_in_all_versions_and_is_known_while_any_has_it() -> None:
    one, two = grown(["k01", "k02"], ["k02", "k03"], starts=[0, 100])
    places = Timeline.of([published(one, 0), published(two, 1)], "wall").places
    ids = {rack: places.id_of(SubjectKind.RACK, f"ruh/h1/r01/{rack}") for rack in ("k01", "k02", "k03", "k04")}
    assert ids == {"k01": 1, "k02": 2, "k03": 3, "k04": None}
    assert places.path_of(SubjectKind.RACK, 1) == "ruh/h1/r01/k01"


START = st.integers(-50, 50)


@given(st.lists(st.tuples(START, START), min_size=1, max_size=6), st.integers(-60, 90), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_every_second_has_the_greatest_version_that_counts_by_then(
    versions: list[tuple[int, int]], first: int, length: int
) -> None:
    made = grown(*([f"k{n:02}"] for n in range(1, len(versions) + 1)), starts=[start for start, _ in versions])
    log = [published(registry, appended) for registry, (_, appended) in zip(made, versions, strict=True)]
    timeline = Timeline.of(log, "wall")
    counts = [max(start, appended + LEAD_SECS) for start, appended in versions]
    counts[0] = -(10**9)
    for second in range(-60, 90, 7):
        wanted = max(n for n, start in enumerate(counts) if start <= second)
        assert timeline.at(AT + second * SECOND).version == wanted + 1
    epochs = timeline.between(AT + first * SECOND, AT + (first + length) * SECOND)
    assert {epoch.registry.version for epoch in epochs} == {
        timeline.at(AT + second * SECOND).version for second in range(first, first + max(length, 1))
    }


def decoded(rows: list[tuple[float, int, float]]) -> pl.DataFrame:
    """Return decoded meter rows (second after NOON, meter, watts), one a message."""
    nothing: dict[str, Any] = dict.fromkeys({**METER.polars, **PLACE_COLUMNS})
    made = [
        nothing
        | {"time": AT + round(at * SECOND), "meter": meter, "power_watts": watts, "level": 6, "phase": 0}
        | {"quality": 0, "averaging": 0, "_partition": 0, "_offset": n, "_row": 0, "_appended": AT + round(at * SECOND)}
        for n, (at, meter, watts) in enumerate(rows)
    ]
    return pl.DataFrame(made, schema={**METER.polars, **PLACE_COLUMNS}, orient="row")


def test_each_row_is_admitted_by_the_nameplate_of_its_second() -> None:
    small, big = (
        assign(
            facility(
                site({"r01": {"type": "box", "ids": ["k01"]}}),
                rack_types={
                    "box": {"vendor": "nvidia", "model": "h200", "nodes": 1, "gpus_per_node": 8, "budget_watts": 1e3,
                            "gpu_nameplate_watts": 100.0, "nameplate_watts": watts},
                },
                meters=[{"id": "ruh/h1/r01/k01/in", "measures": "ruh/h1/r01/k01", "level": "rack_input"}],
            )
        )
        for watts in (10_000.0, 40_000.0)
    )  # fmt: skip
    two = assign_again(big, small, 10)
    timeline = Timeline.of([published(small, 0), published(two, 0)], "wall")
    meter = small.meters["meter"][0]
    rows = decoded([(11, meter, 50_000.0), (9, meter, 50_000.0), (12, meter, 90_000.0), (8, meter, 1.0)])
    admitted = admit_in_force(METER, rows, timeline, clock="event")
    assert admitted.rows["_offset"].to_list() == [0, 3]
    assert admitted.refused["offset"].to_list() == [1, 2]
    whole = admit(METER, rows.filter(pl.col("_offset") != 1), two, clock="event")
    assert admitted.rows.equals(whole.rows)


def assign_again(wanted: Registry, previous: Registry, start: float) -> Registry:
    """Return the facility of `wanted` as the version after `previous`."""
    (part,) = wanted.parts
    stamped = type(part)(
        part.site, previous.version + 1, (NOON + timedelta(seconds=start)).replace(tzinfo=None), part.frames
    )
    return Registry.of([stamped])
