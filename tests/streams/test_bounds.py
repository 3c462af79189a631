"""What the silent may draw: the truth lies between the bounds, and the meters above narrow them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.facility import Facility, load
from schemas.partial import PARTIAL
from schemas.registry import Registry, assign
from schemas.subject import MeterLevel, SubjectKind
from streams.members import Members, members_of
from streams.sums import MISSING, SECOND, Block, assemble
from tests.schemas.small_facility import facility, site

EXAMPLE = Path(__file__).parents[2] / "examples" / "halo-2mw.toml"
START = 1_721_116_800 * SECOND
KILO = 1_000_000  # mW in a kW
OLD = 12 * SECOND

INPUTS: dict[str, Any] = {"meters": ["a", "b"]}
BOX: dict[str, Any] = {
    "vendor": "nvidia",
    "model": "b200",
    "nodes": 2,
    "gpus_per_node": 4,
    "gpu_nameplate_watts": 1_000.0,
    "nameplate_watts": 20_000.0,
}
BRANCH: dict[str, Any] = {"rated_amps": 100.0, "voltage_volts": 400.0}


def busways(box: dict[str, Any], *, metered: bool = True, panel_meters: bool = False, **keys: Any) -> Facility:
    """Return one row of three boxes on busways A and B, each below a panel of its own."""
    feeds = [
        {"id": f"ruh/feed-{side}", "fed_by": f"ruh/panel-{side}", "side": side, "metered": metered,
         "racks": ["ruh/h1/r01/*"], **BRANCH}
        for side in "ab"
    ]  # fmt: skip
    tree: dict[str, Any] = {
        "utilities": [{"id": "ruh/grid"}],
        "panels": [
            {"id": f"ruh/panel-{side}", "fed_by": "ruh/grid", "metered": panel_meters, **BRANCH} for side in "ab"
        ],
        "feeds": feeds,
        "rack_types": {"box": box},
    }
    return facility(site({"r01": {"type": "box", "first": 1, "last": 3}}), **tree | keys)


class Site:
    """Hold a facility and the kW that its sources say, by path; what is not said is silent."""

    def __init__(self, of: Facility) -> None:
        self.registry = assign(of)
        self.members = members_of(self.registry)

    def block(self, kilowatts: dict[str, float], ages: dict[str, int] | None = None) -> Block:
        return assemble(self.members, frame([self.row(path, kw, ages or {}) for path, kw in kilowatts.items()]))

    def row(self, path: str, kilowatts: float, ages: dict[str, int]) -> dict[str, Any]:
        meter = self.registry.id_of(SubjectKind.METER, path)
        kind = SubjectKind.METER if meter else SubjectKind.RACK
        parts = 1 if meter else 8
        subject = meter or self.registry.id_of(SubjectKind.RACK, path)
        return row(kind, subject or 0, round(kilowatts * KILO), parts, ages.get(path, SECOND))

    def bounds(self, block: Block, path: str) -> tuple[float | None, float | None]:
        """Return low and high of a subject in kW."""
        for kind in SubjectKind:
            if (subject := self.registry.id_of(kind, path)) is not None:
                where = index_of(self.members, kind, subject)
                low, high = int(block.low[0, where]), int(block.high[0, where])
                return tuple(None if each == MISSING else each / KILO for each in (low, high))  # type: ignore[return-value]
        raise KeyError(path)


def row(kind: SubjectKind, subject: int, power: int, parts: int = 1, age: int = SECOND) -> dict[str, Any]:
    return dict.fromkeys(PARTIAL.polars) | {
        "second": START, "subject_kind": int(kind), "subject": subject, "power_milliwatts": power,
        "silent_nameplate_milliwatts": 0, "utilization_count": 0, "expected": parts, "reporting": parts,
        "oldest_age_microseconds": age, "readings": parts, "digest": hash((kind, subject, power)), "stream": 0,
    }  # fmt: skip


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=PARTIAL.polars | {"stream": pl.Int64}, orient="row")


def index_of(members: Members, kind: int, subject: int) -> int:
    is_it = (members.subjects["subject_kind"] == kind) & (members.subjects["subject"] == subject)
    return int(is_it.arg_true()[0])


K = "ruh/h1/r01/k0"
SAID = {f"{K}{rack}/{side}": 5.0 for rack in (1, 2, 3) for side in "ab"}
"""What six rack inputs say; together 15 kW a busway."""


def without(said: dict[str, float], *paths: str) -> dict[str, float]:
    return {path: kilowatts for path, kilowatts in said.items() if path not in paths}


@pytest.fixture(scope="module")
def boxes() -> Site:
    return Site(busways(BOX | INPUTS))


def test_a_silent_side_draws_what_its_busway_carries_beyond_the_others(boxes: Site) -> None:
    said = without(SAID, f"{K}1/a") | {"ruh/feed-a/m": 16.0, "ruh/feed-b/m": 15.0}
    # 16 kW come in, 10 go to the others: at most 6; at least 16 less 3 % for the wires, less 10.
    assert boxes.bounds(boxes.block(said), f"{K}1") == pytest.approx((5 + 16 * 0.97 - 10, 5 + 6))
    assert boxes.bounds(boxes.block(said), "ruh/h1/r01") == pytest.approx((25 + 16 * 0.97 - 10, 25 + 6))
    assert boxes.bounds(boxes.block(said), f"{K}2") == (10, 10)


def test_without_a_word_from_the_busway_the_nameplate_is_the_bound(boxes: Site) -> None:
    said = without(SAID, f"{K}1/a")
    assert boxes.bounds(boxes.block(said | {"ruh/feed-b/m": 15.0}), f"{K}1") == (5, 20)
    said |= {"ruh/feed-a/m": 15.0}
    assert boxes.bounds(boxes.block(said, {"ruh/feed-a/m": OLD}), f"{K}1") == (5, 20)


def test_a_meter_that_says_less_than_its_parts_or_more_than_they_can_draw_proves_nothing(boxes: Site) -> None:
    said = without(SAID, f"{K}1/a")
    assert boxes.bounds(boxes.block(said | {"ruh/feed-a/m": 9.0}), f"{K}1") == (5, 20)
    assert boxes.bounds(boxes.block(said | {"ruh/feed-a/m": 60.0}), f"{K}1") == (5, 20)


def test_two_silent_sides_share_one_nameplate(boxes: Site) -> None:
    assert boxes.bounds(boxes.block(without(SAID, f"{K}1/a", f"{K}1/b")), f"{K}1") == (0, 20)
    assert boxes.bounds(boxes.block(without(SAID, f"{K}1/a", f"{K}1/b")), "ruh/h1/r01") == (20, 40)


def test_the_silent_of_one_busway_draw_together_what_it_leaves(boxes: Site) -> None:
    said = without(SAID, *(f"{K}{rack}/a" for rack in (1, 2, 3))) | {"ruh/feed-a/m": 18.0}
    block = boxes.block(said)
    assert boxes.bounds(block, f"{K}1") == (5, 20)  # 18 kW on the busway are no bound below the nameplate
    assert boxes.bounds(block, "ruh/h1/r01") == pytest.approx((15 + 18 * 0.97, 15 + 18))


def test_the_panel_bounds_what_hangs_on_feeds_without_a_meter() -> None:
    boxes = Site(busways(BOX | INPUTS, metered=False, panel_meters=True))
    said = without(SAID, f"{K}1/a") | {"ruh/panel-a/m": 14.0, "ruh/panel-b/m": 15.0}
    assert boxes.bounds(boxes.block(said), f"{K}1") == pytest.approx((5 + 14 * 0.97 - 10, 9))
    assert boxes.bounds(boxes.block(said), "ruh/feed-a") == pytest.approx((14 * 0.97, 14))


def test_the_site_bounds_what_nothing_else_meters_but_not_through_a_ups() -> None:
    grid = [{"id": "ruh/grid-meter", "measures": "ruh", "level": "utility"}]
    boxes = Site(busways(BOX | INPUTS, metered=False, meters=grid))
    said = without(SAID, f"{K}1/a") | {"ruh/grid-meter": 28.0}
    assert boxes.bounds(boxes.block(said), f"{K}1") == (5, 8)
    # Cooling and losses hang on the grid as well, so that it proves no lower bound.
    ups = [{"id": "ruh/ups", "fed_by": "ruh/grid", "redundancy": "n", "units": 1, "unit_watts": 1e5}]
    panels = [{"id": f"ruh/panel-{side}", "fed_by": "ruh/ups", **BRANCH} for side in "ab"]
    behind = Site(busways(BOX | INPUTS, metered=False, meters=grid, ups_groups=ups, panels=panels))
    assert behind.bounds(behind.block(said), f"{K}1") == (5, 20)


def test_a_generator_counts_beside_the_grid() -> None:
    meters = [{"id": f"ruh/{level}-meter", "measures": "ruh", "level": level} for level in ("utility", "generator")]
    boxes = Site(busways(BOX | INPUTS, metered=False, meters=meters))
    said = without(SAID, f"{K}1/a") | {"ruh/utility-meter": 0.0}
    assert boxes.bounds(boxes.block(said), f"{K}1") == (5, 20)
    assert boxes.bounds(boxes.block(said | {"ruh/generator-meter": 29.0}), f"{K}1") == (5, 9)


def test_a_rack_without_a_meter_on_a_busway_may_draw_its_nameplate_and_no_less() -> None:
    others = Site(busways(BOX | INPUTS, racks={f"{K}3": {"meters": []}}))
    said = without({path: kw for path, kw in SAID.items() if "k03" not in path}, f"{K}1/a")
    block = others.block(said | {"ruh/feed-a/m": 25.0, f"{K}3": 6.0})
    # 20 kW beside 5 of rack 2; how much of rack 3's GPUs comes over A nobody knows.
    assert others.bounds(block, f"{K}1") == pytest.approx((5, 20))
    block = others.block(said | {"ruh/feed-a/m": 29.0, f"{K}3": 6.0})
    assert others.bounds(block, f"{K}1") == pytest.approx((5 + 29 * 0.97 - 5 - 20, 20))


def test_racks_without_inputs_are_bounded_by_both_their_busways() -> None:
    bare = Site(busways(BOX | {"meters": []}))
    said = {f"{K}1": 5.0, f"{K}2": 6.0, "ruh/feed-a/m": 8.0, "ruh/feed-b/m": 7.0}
    assert bare.bounds(bare.block(said), f"{K}3") == (0, 4)
    assert bare.bounds(bare.block(without(said, "ruh/feed-b/m")), f"{K}3") == (0, 20)


def test_a_silent_node_draws_what_its_rack_leaves() -> None:
    nodes = [{"id": f"{K}1/n0{n}/m", "measures": f"{K}1/n0{n}", "level": "node"} for n in (1, 2)]
    boxes = Site(busways(BOX | INPUTS, meters=nodes))
    assert boxes.bounds(boxes.block(SAID | {f"{K}1/n01/m": 4.0}), f"{K}1/n02") == (0, 6)


TRUE_LEVELS = (MeterLevel.FEED, MeterLevel.PANEL, MeterLevel.UPS, MeterLevel.UTILITY)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return assign(load(EXAMPLE))


@pytest.fixture(scope="module")
def members(registry: Registry) -> Members:
    return members_of(registry)


def true_powers(registry: Registry, draw: np.random.Generator) -> dict[tuple[int, int], int]:
    """Draw what every rack input carries, and what the meters above it say with up to 1.4 % lost at each."""
    truth: dict[tuple[int, int], int] = {}
    nameplates = dict(registry.racks.select("rack", "nameplate_watts").iter_rows())
    inputs = registry.meters.filter(level=MeterLevel.RACK_INPUT)
    for rack, meters in inputs.group_by("subject"):
        total = int(draw.uniform(0, nameplates[rack[0]] * 1000))
        share = int(total * draw.uniform(0, 1)) if len(meters) == 2 else total
        for meter, part in zip(meters["meter"], (share, total - share), strict=False):
            truth[SubjectKind.METER, meter] = part
    below: dict[tuple[int, int], int] = {}
    for meter, feed in inputs.select("meter", "feed").iter_rows():
        below[SubjectKind.FEED, feed] = below.get((SubjectKind.FEED, feed), 0) + truth[SubjectKind.METER, meter]
    for kind in (SubjectKind.FEED, SubjectKind.PANEL, SubjectKind.UPS_GROUP):
        devices = registry.power.filter(kind=int(kind)).select("id", "parent_kind", "parent")
        for device, parent_kind, parent in devices.iter_rows():
            carried = int(below.get((kind, device), 0) * (1 + draw.uniform(0, 0.014)))
            truth[kind, device] = carried
            if parent is not None:
                below[parent_kind, parent] = below.get((parent_kind, parent), 0) + carried
    for meter, kind, subject in (
        registry.meters.filter(pl.col("level") < 6).select("meter", "subject_kind", "subject").rows()
    ):
        truth[SubjectKind.METER, meter] = truth.get((kind, subject), 10**10)
    return truth


@given(seed=st.integers(0, 2**32 - 1), silent=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_the_truth_lies_between_the_bounds(registry: Registry, members: Members, seed: int, silent: float) -> None:
    draw = np.random.default_rng(seed)
    truth = true_powers(registry, draw)
    meters = registry.meters["meter"].to_list()
    said = [row(SubjectKind.METER, m, truth[SubjectKind.METER, m]) for m in meters if draw.random() >= silent]
    block = assemble(members, frame(said))
    if not said:
        return
    kinds = members.subjects.select("subject_kind", "subject").rows()
    wanted = np.zeros(len(kinds), dtype=np.int64)
    of_meter = np.array([truth.get((kind, each), -1) for kind, each in members.sources.select("kind", "id").rows()])
    np.add.at(wanted, members.power.whose, of_meter[members.power.of])
    assert (block.low[0] <= wanted).all()
    has_high = block.high[0] != MISSING
    assert (block.high[0][has_high] >= wanted[has_high]).all()
    assert (block.low[0][has_high] <= block.high[0][has_high]).all()


@given(seed=st.integers(0, 2**32 - 1), silent=st.floats(0, 0.6))
@settings(max_examples=30, deadline=None)
def test_order_and_partitions_change_nothing_and_the_fuller_set_has_the_greater_version(
    registry: Registry, members: Members, seed: int, silent: float
) -> None:
    draw = np.random.default_rng(seed)
    truth = true_powers(registry, draw)
    said = [
        row(SubjectKind.METER, m, truth[SubjectKind.METER, m])
        for m in registry.meters["meter"]
        if draw.random() >= silent
    ]
    if len(said) < 2:
        return
    full = assemble(members, frame(said))
    shuffled = [each | {"stream": int(draw.integers(4))} for each in draw.permutation(np.array(said, dtype=object))]
    again = assemble(members, frame(shuffled))
    poorer = assemble(members, frame([each for each in shuffled[1:] if draw.random() < 0.9] or shuffled[:1]))
    for name in ("power", "low", "high", "expected", "reporting", "readings", "digest", "oldest_age"):
        assert (getattr(again, name) == getattr(full, name)).all()
    differs = np.zeros(len(members.subjects), dtype=bool)
    for name in ("power", "low", "high", "reporting"):
        differs |= getattr(full, name)[0] != getattr(poorer, name)[0]
    assert (full.readings[0][differs] > poorer.readings[0][differs]).all()
    assert (full.readings >= poorer.readings).all()
