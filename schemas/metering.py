"""Metering: which meters add up to the power of a rack, a node, a feed, panel, UPS group or utility, a site.

Levels never mix in one sum (schemas.md 4). Pure functions of the registry's frames.
"""

from __future__ import annotations

import polars as pl

from schemas.site_frames import Schema
from schemas.subject import MeterLevel, SubjectKind

MEASURED = 1
DERIVED = 2

SUMS: Schema = {"subject_kind": pl.Int8, "subject": pl.Int32, "meter": pl.Int32, "basis": pl.Int8}

_OWN_LEVEL: dict[SubjectKind, MeterLevel] = {
    SubjectKind.SITE: MeterLevel.UTILITY,
    SubjectKind.UTILITY: MeterLevel.UTILITY,
    SubjectKind.UPS_GROUP: MeterLevel.UPS,
    SubjectKind.PANEL: MeterLevel.PANEL,
    SubjectKind.FEED: MeterLevel.FEED,
    SubjectKind.NODE: MeterLevel.NODE,
}


def sums(meters: pl.DataFrame, nodes: pl.DataFrame, feed_racks: pl.DataFrame, power: pl.DataFrame) -> pl.DataFrame:
    """Return SUMS of frames METERS, nodes (node, rack), FEED_RACKS and POWER."""
    own = {kind: _own(meters, kind, level) for kind, level in _OWN_LEVEL.items()}
    feeds = _or_else(own[SubjectKind.FEED], _on_feeds(meters, feed_racks), SubjectKind.FEED)
    carrying = feed_racks.select("feed").unique().to_series()
    feed_tree = power.filter((pl.col("kind") != SubjectKind.FEED) | pl.col("id").is_in(carrying.implode()))
    panels = _or_else(own[SubjectKind.PANEL], _below(feed_tree, feeds, SubjectKind.PANEL), SubjectKind.PANEL)
    below_groups = pl.concat([feeds, panels])
    groups = _or_else(
        own[SubjectKind.UPS_GROUP], _below(feed_tree, below_groups, SubjectKind.UPS_GROUP), SubjectKind.UPS_GROUP
    )
    utilities = _utilities(feed_tree, own, pl.concat([below_groups, groups]))
    sites = _or_else(own[SubjectKind.SITE], _sites(power, own[SubjectKind.UTILITY]), SubjectKind.SITE)
    racks = _racks(meters, own[SubjectKind.NODE], nodes)
    return pl.concat([racks, own[SubjectKind.NODE], feeds, panels, groups, utilities, sites])


def _own(meters: pl.DataFrame, kind: SubjectKind, level: MeterLevel) -> pl.DataFrame:
    is_own = (pl.col("subject_kind") == kind) & (pl.col("level") == level)
    return _as_sums(meters.filter(is_own), kind, MEASURED)


def _racks(meters: pl.DataFrame, node_sums: pl.DataFrame, nodes: pl.DataFrame) -> pl.DataFrame:
    inputs = _own(meters, SubjectKind.RACK, MeterLevel.RACK_INPUT)
    shelves = _own(meters, SubjectKind.RACK, MeterLevel.SHELF)
    by_node = nodes.join(node_sums.select(node="subject", meter="meter"), on="node", how="left")
    whole = by_node.filter(pl.col("meter").is_not_null().all().over("rack")).select(subject="rack", meter="meter")
    from_nodes = _as_sums(whole, SubjectKind.RACK, DERIVED)
    return _or_else(_or_else(inputs, shelves, SubjectKind.RACK), from_nodes, SubjectKind.RACK)


def _utilities(power: pl.DataFrame, own: dict[SubjectKind, pl.DataFrame], below: pl.DataFrame) -> pl.DataFrame:
    """Return the meters of each utility: its own, else those of a site that has no other, else those below it."""
    only = power.filter(pl.col("kind") == SubjectKind.UTILITY).filter(pl.len().over("site") == 1)
    of_sites = only.select("site", utility="id").join(own[SubjectKind.SITE], left_on="site", right_on="subject")
    single = _as_sums(of_sites.select("meter", subject="utility"), SubjectKind.UTILITY, MEASURED)
    measured = _or_else(own[SubjectKind.UTILITY], single, SubjectKind.UTILITY)
    return _or_else(measured, _below(power, below, SubjectKind.UTILITY), SubjectKind.UTILITY)


def _sites(power: pl.DataFrame, utilities: pl.DataFrame) -> pl.DataFrame:
    """Return the meters of every site all of whose utilities have one of their own."""
    intakes = power.filter(pl.col("kind") == SubjectKind.UTILITY).select("site", utility="id")
    on = intakes.join(utilities.select("meter", utility="subject"), on="utility", how="left")
    whole = on.filter(pl.col("meter").is_not_null().all().over("site"))
    return _as_sums(whole.select("meter", subject="site"), SubjectKind.SITE, MEASURED)


def _on_feeds(meters: pl.DataFrame, feed_racks: pl.DataFrame) -> pl.DataFrame:
    """Return the rack inputs of every feed all of whose racks have one on it."""
    inputs = meters.filter(pl.col("feed").is_not_null()).select("feed", "meter", rack="subject")
    on = feed_racks.join(inputs, on=["feed", "rack"], how="left")
    whole = on.filter(pl.col("meter").is_not_null().all().over("feed"))
    return _as_sums(whole.select("meter", subject="feed"), SubjectKind.FEED, DERIVED)


def _below(power: pl.DataFrame, known: pl.DataFrame, kind: SubjectKind) -> pl.DataFrame:
    """Return the meters below every device of `kind` all of whose children are in `known`."""
    children = power.filter(pl.col("parent_kind") == kind).select(subject="parent", child_kind="kind", child="id")
    meters = known.select(child_kind="subject_kind", child="subject", meter="meter")
    on = children.join(meters, on=["child_kind", "child"], how="left")
    whole = on.filter(pl.col("meter").is_not_null().all().over("subject"))
    return _as_sums(whole, kind, DERIVED)


def _or_else(first: pl.DataFrame, second: pl.DataFrame, kind: SubjectKind) -> pl.DataFrame:
    rest = second.join(first, on="subject", how="anti")
    return pl.concat([first, rest]).with_columns(subject_kind=pl.lit(kind, pl.Int8))


def _as_sums(frame: pl.DataFrame, kind: SubjectKind, basis: int) -> pl.DataFrame:
    return frame.select(
        subject_kind=pl.lit(kind, pl.Int8),
        subject=pl.col("subject").cast(pl.Int32),
        meter=pl.col("meter").cast(pl.Int32),
        basis=pl.lit(basis, pl.Int8),
    )
