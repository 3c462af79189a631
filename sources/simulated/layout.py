"""The campus as arrays: which GPU sits in which node and rack, and on which lines power arrives.

Made once from a registry. GPUs keep the registry's order (rack, node, gpu), so the GPUs of a rack
and of a node are one slice. Every index points into another array of the layout, −1 = none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.registry import Registry
from schemas.subject import MeterLevel, SubjectKind

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Racks:
    """Hold one element a rack: ids, the slice of its GPUs, where it stands and its own limit."""

    id: Ints
    path: list[str]
    row: Ints
    hall: Ints
    site: Ints
    gpu_first: Ints
    gpu_count: Ints
    nameplate_watts: Floats
    """Nameplates of its GPUs together."""
    limit_watts: Floats
    """Its budget, else its nameplate, else what its GPUs suggest."""
    most_watts: Floats
    """What it cannot exceed, infinite where nobody knows."""
    rest_watts: Floats
    """Its modelled rest besides its GPUs, NaN where the facility says nothing."""

    def of_gpu(self) -> Ints:
        """Return the rack index of each GPU."""
        return np.repeat(np.arange(len(self.id)), self.gpu_count)


@dataclass(frozen=True)
class Nodes:
    """Hold one element a node with GPUs, in GPU order."""

    id: Ints
    path: list[str]
    rack: Ints
    gpu_first: Ints
    gpu_count: Ints

    def of_gpu(self) -> Ints:
        """Return the node index of each GPU."""
        return np.repeat(np.arange(len(self.id)), self.gpu_count)


@dataclass(frozen=True)
class Lines:
    """Hold one element a pair of rack and feed: the ways by which power enters racks."""

    rack: Ints
    feed: Ints
    """Index into `Layout.tree`, −1 where the rack hangs on no feed."""


@dataclass(frozen=True)
class Tree:
    """Hold one element a feed, panel, UPS group and utility, feeds first, so that parents come later."""

    kind: Ints
    id: Ints
    path: list[str]
    parent: Ints
    site: Ints
    limit_watts: Floats
    """What a feed may carry by its site's rule, a utility by contract; infinite where nothing is agreed."""
    voltage_volts: Floats


@dataclass(frozen=True)
class Layout:
    """Hold the campus as arrays."""

    registry: Registry
    slots: pl.DataFrame
    sites: Ints
    site_paths: list[str]
    time_zones: list[str]
    racks: Racks
    nodes: Nodes
    lines: Lines
    tree: Tree

    @cached_property
    def gpu_nameplate_watts(self) -> Floats:
        """Return the nameplate of each GPU; 1 kW where nobody knows."""
        return self.slots["nameplate_watts"].fill_null(1000.0).to_numpy()


_DEFAULT_VOLTS = 415.0
TREE_ORDER = (SubjectKind.FEED, SubjectKind.PANEL, SubjectKind.UPS_GROUP, SubjectKind.UTILITY)


def layout_of(registry: Registry) -> Layout:
    """Make the arrays of a registry."""
    slots = registry.slots.sort("rack", "node", "gpu")
    sites = registry.sites.sort("site")
    racks = _racks(registry, slots)
    tree = _tree(registry)
    return Layout(
        registry=registry,
        slots=slots,
        sites=_ints(sites["site"]),
        site_paths=sites["path"].to_list(),
        time_zones=sites["time_zone"].fill_null("UTC").to_list(),
        racks=racks,
        nodes=_nodes(registry, slots, racks),
        lines=_lines(registry, racks, tree),
        tree=tree,
    )


def index_in(ids: Ints, wanted: Any) -> Ints:
    """Return where each of `wanted` stands in the sorted array `ids`, −1 where it does not."""
    wanted = np.asarray(wanted, dtype=np.int64)
    if len(ids) == 0:
        return np.full(wanted.shape, -1, dtype=np.int64)
    found = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[found] == wanted, found, -1)


def sum_by(index: Ints, values: NDArray[Any], count: int) -> Floats:
    """Return for each of `count` places the sum of the values whose index it is."""
    # Without any values bincount forgets that they were floats.
    return np.bincount(index, values, minlength=count).astype(np.float64)


def _ints(series: pl.Series) -> Ints:
    return series.cast(pl.Int64).fill_null(-1).to_numpy()


def _racks(registry: Registry, slots: pl.DataFrame) -> Racks:
    rack = registry.racks.sort("rack")
    ids, in_slots = _ints(rack["rack"]), _ints(slots["rack"])
    first, last = np.searchsorted(in_slots, ids), np.searchsorted(in_slots, ids, side="right")
    of_gpu = np.repeat(np.arange(len(ids)), last - first)
    nameplate = sum_by(of_gpu, slots["nameplate_watts"].fill_null(0.0).to_numpy(), len(ids))
    suggested = np.where(nameplate > 0, 1.6 * nameplate, 10_000.0)
    limit = rack.select(pl.coalesce("budget_watts", "nameplate_watts", pl.Series(suggested))).to_series()
    return Racks(
        id=ids,
        path=rack["path"].to_list(),
        row=_ints(rack["row"]),
        hall=_ints(rack["hall"]),
        site=_ints(rack["site"]),
        gpu_first=first,
        gpu_count=last - first,
        nameplate_watts=nameplate,
        limit_watts=limit.to_numpy(),
        most_watts=rack["nameplate_watts"].fill_null(np.inf).to_numpy(),
        rest_watts=rack["rest_watts"].fill_null(np.nan).to_numpy(),
    )


def limits_of(registry: Registry, kind: SubjectKind, limit: str, ids: Ints) -> Floats:
    """Return one limit of each subject in watts, infinite where none is set."""
    rows = registry.limits.filter((pl.col("kind") == kind) & (pl.col("limit") == limit))
    watts = np.full(len(ids), np.inf)
    index = {int(subject): place for place, subject in enumerate(ids)}
    for subject, value in rows.select("id", "watts").iter_rows():
        if subject in index:
            watts[index[subject]] = value
    return watts


def _nodes(registry: Registry, slots: pl.DataFrame, racks: Racks) -> Nodes:
    nodes = slots.group_by("rack", "node", maintain_order=True).agg(pl.len().alias("count"))
    paths = dict(registry.places.filter(pl.col("kind") == SubjectKind.NODE).select("id", "path").iter_rows())
    count = _ints(nodes["count"])
    return Nodes(
        id=_ints(nodes["node"]),
        path=[paths[node] for node in nodes["node"]],
        rack=index_in(racks.id, nodes["rack"].to_numpy()),
        gpu_first=np.cumsum(count) - count,
        gpu_count=count,
    )


def _tree(registry: Registry) -> Tree:
    order = {int(kind): place for place, kind in enumerate(TREE_ORDER)}
    power = registry.power.filter(pl.col("kind").is_in(list(order))).sort(
        pl.col("kind").replace_strict(order, return_dtype=pl.Int8), "id"
    )
    kinds, ids = _ints(power["kind"]), _ints(power["id"])
    parents = pl.DataFrame({"kind": power["parent_kind"], "id": power["parent"]})
    index = power.select("kind", "id").with_row_index("index")
    limits = registry.limits.group_by("kind", "id").agg(pl.col("watts").min())
    volts = registry.feeds.select(kind=pl.lit(int(SubjectKind.FEED), pl.Int8), id="feed", volts="voltage_volts")
    return Tree(
        kind=kinds,
        id=ids,
        path=power["path"].to_list(),
        parent=_ints(parents.join(index, on=["kind", "id"], how="left", maintain_order="left")["index"]),
        site=_ints(power["site"]),
        limit_watts=_looked_up(power, limits, "watts", np.inf),
        voltage_volts=_looked_up(power, volts, "volts", _DEFAULT_VOLTS),
    )


def _looked_up(rows: pl.DataFrame, values: pl.DataFrame, column: str, default: float) -> Floats:
    found = rows.join(values, on=["kind", "id"], how="left", maintain_order="left")[column]
    return found.fill_null(default).to_numpy()


def _lines(registry: Registry, racks: Racks, tree: Tree) -> Lines:
    feeds = np.flatnonzero(tree.kind == SubjectKind.FEED)
    hanging = registry.feed_racks.sort("rack", "side", "feed", nulls_last=True)
    rack = index_in(racks.id, hanging["rack"].to_numpy())
    feed = index_in(tree.id[feeds], hanging["feed"].to_numpy())
    known = (rack >= 0) & (feed >= 0)
    alone = np.repeat(np.arange(len(racks.id)), _inputs(registry, racks))
    alone = alone[~np.isin(alone, rack[known])]
    return Lines(
        rack=np.concatenate([rack[known], alone]),
        feed=np.concatenate([feeds[feed[known]], np.full(len(alone), -1)]),
    )


def _inputs(registry: Registry, racks: Racks) -> Ints:
    """Return how many inputs each rack has: those that are metered, at least one."""
    metered = registry.meters.filter(pl.col("level") == MeterLevel.RACK_INPUT)["subject"]
    index = index_in(racks.id, metered.to_numpy())
    return np.maximum(np.bincount(index[index >= 0], minlength=len(racks.id)), 1)
