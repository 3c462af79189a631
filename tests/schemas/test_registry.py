"""The registry: ids that stay, frames that agree, and the value on facility.v1."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from schemas.facility import Facility, load
from schemas.registry import LIMITS, METERS, PLACES, SLOTS, SUMS, Registry, assign
from schemas.site_frames import FRAMES, SiteFrames
from schemas.subject import MeterLevel, SubjectKind, gpu_subject
from tests.schemas.small_facility import BOX, facility, powered, site
from wattline.scales import facility_file

KINDS = list(SubjectKind)

row_racks = st.lists(st.integers(1, 12), unique=True, max_size=6)
rack_types = st.dictionaries(st.sampled_from(["k01", "k02", "k03"]), st.sampled_from(["box", "big"]), max_size=3)
versions = st.lists(st.tuples(row_racks, row_racks, rack_types, st.booleans()), min_size=2, max_size=5)


def drawn(first: list[int], second: list[int], types: dict[str, str], has_second_site: bool) -> Facility:
    """Return a facility whose rows hold the drawn racks, in the drawn order, some of another type."""
    rows = {
        row: [{"type": types.get(f"k{number:02d}", "box"), "ids": [f"k{number:02d}"]} for number in numbers]
        for row, numbers in (("r01", first), ("r02", second))
    }
    sites = [site(rows)] + ([site({"r01": rows["r02"]}, name="dmm")] if has_second_site else [])
    return facility(*sites, rack_types={"box": BOX, "big": BOX | {"nodes": 4, "model": "b200"}})


@settings(max_examples=30, deadline=None)
@given(versions)
def test_an_id_is_given_once_kept_for_ever_and_never_given_to_another(history: list[tuple]) -> None:
    registry = None
    ever: dict[tuple[int, str], int] = {}
    for version in history:
        registry = assign(drawn(*version), registry)
        if len(ever) % 2:  # some versions come back from Kafka, some do not
            registry = Registry.from_json(registry.to_json().values())
        for kind in KINDS:
            for path, given_id in registry.ids(kind).items():
                assert ever.setdefault((kind, path), given_id) == given_id
        assert len({(kind, given_id) for (kind, _), given_id in ever.items()}) == len(ever)


@settings(max_examples=30, deadline=None)
@given(versions)
def test_a_registry_comes_back_from_json_as_it_was(history: list[tuple]) -> None:
    registry = None
    for version in history:
        registry = assign(drawn(*version), registry)
    assert registry is not None
    back = Registry.from_json(registry.to_json().values())
    for name in ("sites", "places", "slots", "racks", "power", "meters", "feeds", "feed_racks", "limits", "retired"):
        assert getattr(back, name).equals(getattr(registry, name)), name
    assert (back.version, back.effective_from) == (registry.version, registry.effective_from)


def test_a_rack_put_between_two_others_gets_the_next_id_and_nothing_else_changes() -> None:
    before = assign(facility(site({"r01": {"type": "box", "ids": ["k01", "k03"]}})))
    after = assign(facility(site({"r01": {"type": "box", "ids": ["k01", "k02", "k03"]}})), before)
    assert [after.id_of(SubjectKind.RACK, f"ruh/h1/r01/k0{number}") for number in (1, 2, 3)] == [1, 3, 2]
    assert after.slots.filter(pl.col("rack") == 2).equals(before.slots.filter(pl.col("rack") == 2))
    assert after.version == before.version + 1


def test_a_rack_that_leaves_keeps_its_ids_and_gets_them_back() -> None:
    both = facility(site({"r01": {"type": "box", "ids": ["k01", "k02"]}}))
    one = facility(site({"r01": {"type": "box", "ids": ["k02"]}}))
    grown = facility(site({"r01": {"type": "box", "ids": ["k01", "k02", "k04"]}}))
    first = assign(both)
    second = assign(one, first)
    third = assign(grown, second)
    assert second.id_of(SubjectKind.RACK, "ruh/h1/r01/k01") is None
    assert second.path_of(SubjectKind.RACK, 1) == "ruh/h1/r01/k01"
    assert second.slots["rack"].unique().to_list() == [2]
    assert third.id_of(SubjectKind.RACK, "ruh/h1/r01/k01") == 1
    assert third.id_of(SubjectKind.RACK, "ruh/h1/r01/k04") == 3
    assert third.retired.is_empty()


def test_nodes_added_to_a_rack_follow_its_old_ones_whatever_ids_they_get() -> None:
    racks = {"r01": {"type": "box", "ids": ["k01", "k02"]}}
    before = assign(facility(site(racks)))
    after = assign(facility(site(racks), racks={"ruh/h1/r01/k01": {"nodes": 4}}), before)
    nodes = after.nodes.filter(pl.col("rack") == 1).select("node", "path").rows()
    assert nodes == [(n, f"ruh/h1/r01/k01/n0{i}") for i, n in enumerate((1, 2, 5, 6), start=1)]
    assert after.slots.equals(after.slots.sort("rack", "node", "gpu"))


def test_publishing_one_site_leaves_the_other_as_it_is() -> None:
    ruh = assign(facility(site({"r01": {"type": "box", "ids": ["k01"]}})))
    both = assign(facility(site({"r01": {"type": "box", "ids": ["k01"]}}, name="dmm")), ruh)
    assert both.sites.select("path", "version").rows() == [("dmm", 2), ("ruh", 1)]
    assert both.ids(SubjectKind.RACK) == {"ruh/h1/r01/k01": 1, "dmm/h1/r01/k01": 2}


def test_the_same_facility_again_is_the_same_version() -> None:
    first = assign(powered())
    again = assign(powered(), first, effective_from=datetime(2030, 1, 1))
    assert again.parts == first.parts


def test_effective_from_is_a_whole_second_in_utc() -> None:
    moment = datetime.fromisoformat("2026-01-31T08:00:00.75+03:00")
    registry = assign(powered(), effective_from=moment)
    assert registry.effective_from == datetime(2026, 1, 31, 5)
    assert Registry.from_json(registry.to_json().values()).effective_from == moment.astimezone(UTC).replace(
        microsecond=0, tzinfo=None
    )


def test_frames_have_the_columns_that_other_rooms_are_promised() -> None:
    registry = assign(powered())
    assert registry.places.schema == pl.Schema(PLACES)
    assert registry.slots.schema == pl.Schema(SLOTS)
    assert registry.meters.schema == pl.Schema(METERS)
    assert registry.limits.schema == pl.Schema(LIMITS)
    assert registry.sums.schema == pl.Schema(SUMS)
    assert len(registry.slots) == 2 * 2 * 8


def test_a_place_knows_its_parent_up_to_the_site() -> None:
    registry = assign(powered())
    kind, subject, way = SubjectKind.NODE, registry.id_of(SubjectKind.NODE, "ruh/h1/r01/k02/n02"), []
    while subject is not None:
        place = registry.places.row(by_predicate=(pl.col("kind") == kind) & (pl.col("id") == subject), named=True)
        way.append(place["path"])
        kind, subject = place["parent_kind"], place["parent"]
    assert way == ["ruh/h1/r01/k02/n02", "ruh/h1/r01/k02", "ruh/h1/r01", "ruh/h1", "ruh"]


def test_the_power_tree_leads_from_a_feed_to_the_utility() -> None:
    registry = assign(powered())
    paths = {(row["kind"], row["id"]): row for row in registry.power.iter_rows(named=True)}
    way, place = [], paths[SubjectKind.FEED, registry.id_of(SubjectKind.FEED, "ruh/feed-b")]
    while place is not None:
        way.append(place["path"])
        place = paths.get((place["parent_kind"], place["parent"]))
    assert way == ["ruh/feed-b", "ruh/panel-b", "ruh/ups", "ruh/grid"]


def test_a_rack_input_of_side_a_hangs_on_feed_a() -> None:
    registry = assign(powered())
    feeds = registry.feeds.select("feed", feed_path="path")
    hanging = registry.meters.join(feeds, on="feed").select("path", "feed_path", "side").sort("path").rows()
    assert hanging[:2] == [
        ("ruh/h1/r01/k01/a", "ruh/feed-a", "a"),
        ("ruh/h1/r01/k01/b", "ruh/feed-b", "b"),
    ]
    assert len(hanging) == 4


def test_a_utility_has_its_own_meter_and_a_site_is_the_sum_of_all_its_utilities() -> None:
    grids = [{"id": f"ruh/grid-{side}"} for side in "ab"]
    panels = [
        {
            "id": f"ruh/panel-{side}",
            "fed_by": f"ruh/grid-{side}",
            "metered": True,
            "rated_amps": 9.0,
            "voltage_volts": 400,
        }
        for side in "ab"
    ]
    both = [{"id": f"ruh/grid-{side}/m", "measures": f"ruh/grid-{side}", "level": "utility"} for side in "ab"]
    for meters, of_a, of_site in (
        (both, ("ruh/grid-a/m", 1), {("ruh/grid-a/m", 1), ("ruh/grid-b/m", 1)}),
        (both[1:], ("ruh/panel-a/m", 2), set()),
    ):
        rows = {"r01": {"type": "box", "first": 1, "last": 1}}
        registry = assign(facility(site(rows), utilities=grids, panels=panels, meters=meters))
        assert sums_of(registry, SubjectKind.UTILITY, "ruh/grid-a") == {of_a}
        assert sums_of(registry, SubjectKind.SITE, "ruh") == of_site


def sums_of(registry: Registry, kind: SubjectKind, path: str) -> set[tuple[str, int]]:
    """Return (path of the meter, basis) of a subject's sum."""
    subject = registry.id_of(kind, path)
    found = registry.sums.filter((pl.col("subject_kind") == kind) & (pl.col("subject") == subject))
    return set(found.join(registry.meters.select("meter", "path"), on="meter").select("path", "basis").rows())


def test_sums_take_a_meter_of_ones_own_before_those_below_and_never_both() -> None:
    registry = assign(powered())
    a = {("ruh/h1/r01/k01/a", 2), ("ruh/h1/r01/k02/a", 2)}
    assert sums_of(registry, SubjectKind.FEED, "ruh/feed-a") == a
    assert sums_of(registry, SubjectKind.FEED, "ruh/feed-b") == {("ruh/feed-b/m", 1)}
    assert sums_of(registry, SubjectKind.PANEL, "ruh/panel-b") == {("ruh/feed-b/m", 2)}
    assert sums_of(registry, SubjectKind.UPS_GROUP, "ruh/ups") == a | {("ruh/feed-b/m", 2)}
    assert sums_of(registry, SubjectKind.SITE, "ruh") == {("ruh/grid-meter", 1)}
    assert sums_of(registry, SubjectKind.UTILITY, "ruh/grid") == {("ruh/grid-meter", 1)}
    assert sums_of(registry, SubjectKind.RACK, "ruh/h1/r01/k01") == {
        ("ruh/h1/r01/k01/a", 1),
        ("ruh/h1/r01/k01/b", 1),
    }


def metered_by_node(*numbers: int) -> Registry:
    """Return a rack of two nodes without inputs, with meters on the given nodes."""
    meters = [{"id": f"ruh/h1/r01/k01/m{n}", "measures": f"ruh/h1/r01/k01/n0{n}", "level": "node"} for n in numbers]
    racks = {"ruh/h1/r01/k01": {"meters": []}}
    return assign(facility(site({"r01": {"type": "box", "ids": ["k01"]}}), racks=racks, meters=meters))


def test_a_rack_is_the_sum_of_its_nodes_only_where_every_node_has_a_meter() -> None:
    rack = (SubjectKind.RACK, "ruh/h1/r01/k01")
    assert sums_of(metered_by_node(1, 2), *rack) == {("ruh/h1/r01/k01/m1", 2), ("ruh/h1/r01/k01/m2", 2)}
    assert sums_of(metered_by_node(1), *rack) == set()


def test_limits_say_what_each_subject_may_draw() -> None:
    registry = assign(powered())
    rack = (pl.col("kind") == SubjectKind.RACK) & (pl.col("id") == 1)
    feed = (pl.col("kind") == SubjectKind.FEED) & (pl.col("id") == 1)
    site_limits = pl.col("kind") == SubjectKind.SITE
    assert dict(registry.limits.filter(rack)["limit", "watts"].rows()) == {"nameplate": 24_000.0, "budget": 20_000.0}
    rated = 3**0.5 * 400 * 100
    assert dict(registry.limits.filter(feed)["limit", "watts"].rows()) == {
        "rated": pytest.approx(rated),
        "usable": pytest.approx(0.8 * rated),
    }
    assert dict(registry.limits.filter(site_limits)["limit", "watts"].rows()) == {
        "budget": 50_000.0,
        "contract": 60_000.0,
    }


def test_a_facility_made_in_code_is_held_to_its_references_too() -> None:
    wrong = facility(site({"r01": {"type": "boxx", "first": 1, "last": 2}}))
    with pytest.raises(ConfigurationError, match=r"rack type 'boxx' does not exist \(did you mean 'box'\?\)"):
        assign(wrong)


def test_a_campus_of_150_mw_is_numbered_and_read_within_a_second_and_its_messages_fit() -> None:
    halo = load(facility_file("150MW"))
    began = time.process_time()
    registry = assign(halo)
    values = registry.to_json()
    numbered = time.process_time()
    back = Registry.from_json(values.values())
    slots = len(back.slots)
    read = time.process_time()
    assert slots == 62_104
    assert numbered - began < 1.0
    assert read - numbered < 0.5
    assert max(len(value) for value in values.values()) < 1_000_000


def test_two_sites_that_claim_one_id_are_refused() -> None:
    ruh = assign(facility(site({"r01": {"type": "box", "ids": ["k01"]}})))
    dmm = assign(facility(site({"r01": {"type": "box", "ids": ["k01"]}}, name="dmm")))
    with pytest.raises(ConfigurationError, match="one id was given to"):
        Registry.from_json([*ruh.to_json().values(), *dmm.to_json().values()])


def test_the_greatest_version_of_a_site_wins_in_any_order() -> None:
    old = assign(facility(site({"r01": {"type": "box", "ids": ["k01"]}})))
    new = assign(facility(site({"r01": {"type": "box", "ids": ["k01", "k02"]}})), old)
    values = [*new.to_json().values(), *old.to_json().values()]
    assert Registry.from_json(values).version == Registry.from_json(values[::-1]).version == 2


VALUE = msgspec.json.decode(assign(powered()).to_json()["ruh"])
anything = st.one_of(
    st.none(), st.integers(-(10**23), 10**23), st.text(max_size=4), st.just([]), st.just({}), st.just("../etc/passwd")
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(FRAMES)), st.data())
def test_a_damaged_value_is_refused_or_gives_frames_of_the_right_shape(name: str, data: st.DataObject) -> None:
    column = data.draw(st.sampled_from(sorted(FRAMES[name])))
    values = [*VALUE["frames"][name][column]]
    position = data.draw(st.integers(0, len(values)))
    values[position : position + 1] = [data.draw(anything)]
    frames = VALUE["frames"] | {name: VALUE["frames"][name] | {column: values}}
    damaged = msgspec.json.encode(VALUE | {"frames": frames})
    try:
        part = SiteFrames.from_json(damaged)
    except ConfigurationError:
        return
    assert all(part.frames[frame].schema == pl.Schema(FRAMES[frame]) for frame in FRAMES)


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"\xff", b"null", b'{"site": "ruh"}', b"[" * 100_000, b'{"version": 1e999}']
)
def test_what_is_no_facility_is_one_clear_error(value: bytes) -> None:
    with pytest.raises(ConfigurationError, match="is not a facility"):
        Registry.from_json([value])


def test_meter_levels_of_the_file_are_those_of_the_wire() -> None:
    registry = assign(powered())
    levels = dict(registry.meters["path", "level"].rows())
    assert levels["ruh/grid-meter"] == MeterLevel.UTILITY
    assert levels["ruh/feed-b/m"] == MeterLevel.FEED
    assert levels["ruh/h1/r01/k01/a"] == MeterLevel.RACK_INPUT


def test_a_gpu_has_the_path_of_its_slot_and_the_id_of_its_node_and_index() -> None:
    registry = assign(facility(site({"r01": [{"type": "box", "ids": ["k01"]}]})))
    node = registry.ids(SubjectKind.NODE)["ruh/h1/r01/k01/n02"]
    assert registry.id_of(SubjectKind.GPU, "ruh/h1/r01/k01/n02/gpu7") == gpu_subject(node, 7)
    assert registry.path_of(SubjectKind.GPU, gpu_subject(node, 7)) == "ruh/h1/r01/k01/n02/gpu7"
    for absent in ("gpu8", "gpu07", "gpu", "gpu-1", "gpux"):
        assert registry.id_of(SubjectKind.GPU, f"ruh/h1/r01/k01/n02/{absent}") is None
    assert registry.path_of(SubjectKind.GPU, gpu_subject(999, 0)) is None
