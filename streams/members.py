"""Members: which sources (meters, and racks as the sum of their GPUs) make up each subject of a facility.

Static index arrays from the registry, so that a second of the whole campus is a few gathers and sums.
A rack is the sum of its rack inputs, else of its shelves, else of its nodes' meters (schemas.metering),
else of its GPUs with the modelled rest where the registry gives one, which is an estimate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from schemas.metering import DERIVED
from schemas.subject import SubjectKind
from streams.above import Above, above
from streams.condition import Bools, Codes, Ints
from streams.lists import Lists

if TYPE_CHECKING:
    from schemas.registry import Registry

ESTIMATE = 3
PLACES = [SubjectKind.SITE, SubjectKind.HALL, SubjectKind.ROW, SubjectKind.RACK, SubjectKind.NODE]
UNKNOWN_POWER = -1
"""Nameplate of a source of which the registry gives none."""


class Counted(NamedTuple):
    """Say which sources a subject's version counts: all that its power, its bounds and its GPU columns depend on.

    Subjects behind the same meters share a circle (`circle`, −1 without one): those meters and all that
    they carry, by circle in `circles`. `own` lists, by subject, its sources outside of its circle.
    """

    circle: Ints
    circles: Lists
    own: Lists

    def sum(self, dense: Ints) -> Ints:
        """Return, as [second, subject], the sum of what is not missing of all sources counted."""
        count = int(self.circles.some[-1]) + 1 if len(self.circles.some) else 0
        of_circles = np.zeros((len(dense), count + 1), dtype=np.int64)  # the last is that of no circle
        of_circles[:, :count] = self.circles.total(dense, count)
        total: Ints = self.own.total(dense, len(self.circle)) + of_circles[:, self.circle]
        return total


class Behind(NamedTuple):
    """Hold the pairs of a subject and a group of meters above that carry sources of its power.

    `pairs` lists the subject's sources in the group by number of the pair, `of_subject` the pairs by subject,
    `group` the group of each pair, `alone` the sources of a subject that have no meter above.
    """

    pairs: Lists
    of_subject: Lists
    group: Ints
    alone: Lists


@dataclass(frozen=True)
class Members:
    """Hold the subjects of all sites, ordered by (site, kind, id), and what each is made of.

    `subjects`: frame subject_kind i8, subject i32, site i32, basis i8, facility i32 (its site's version).
    `sources`: frame kind i8 (METER or RACK), id i32, nameplate_milliwatts i64 (UNKNOWN_POWER where not
    known), rest_milliwatts i64, parts i32. `owners` lists the sources that share the nameplate of what they
    measure, as the two sides of a rack do. `power` and `gpus` list, per subject, the sources of its power and
    of its GPU columns; `above` the meters above each source, `behind` those of each subject.
    """

    subjects: pl.DataFrame
    sources: pl.DataFrame
    owners: Lists
    power: Lists
    gpus: Lists
    above: Above
    behind: Behind
    counted: Counted

    @property
    def basis(self) -> Codes:
        """Return, per subject, how its power is made: 1 measured, 2 derived, 3 estimate."""
        return self.subjects["basis"].to_numpy()

    @cached_property
    def site(self) -> Ints:
        """Return the site of each subject, ascending."""
        return self.subjects["site"].to_numpy()

    @cached_property
    def first_of_site(self) -> Ints:
        """Return, by subject, the first subject of its site, which stands for the site in `sources_by_site`."""
        return np.searchsorted(self.site, self.site)

    @cached_property
    def sources_by_site(self) -> Lists:
        """Return the sources of each site's subjects."""
        whose, source = np.append(self.power.whose, self.gpus.whose), np.append(self.power.of, self.gpus.of)
        return Lists.grouped(self.first_of_site[whose], source)

    @property
    def has_all_sides(self) -> Bools:
        """Tell which subjects are places: with a source of a rack they have all the others of it."""
        return self.subjects["subject_kind"].is_in(PLACES).to_numpy()

    @property
    def has_one_source(self) -> Bools:
        """Tell which subjects are one meter, so that its current is theirs."""
        counts = np.zeros(len(self.subjects), dtype=np.int64)
        counts[self.power.some] = self.power.counts
        is_one: Bools = counts == 1
        return is_one


_PAIR = ["subject_kind", "subject"]


def members_of(registry: Registry) -> Members:
    """Return the members of every subject that has any."""
    sources = _sources(registry)
    made_of = _power(registry, sources)
    gpus_of = _gpus(registry, sources)
    basis = made_of.group_by(_PAIR).agg(pl.col("basis").max())
    subjects = (
        pl.concat([made_of.select(_PAIR), gpus_of.select(_PAIR)])
        .unique()
        .join(basis, on=_PAIR, how="left")
        .join(_sites(registry), on=_PAIR, how="left")
        .join(registry.sites.select("site", facility="version"), on="site", how="left")
        .sort("site", *_PAIR)
        .select(*_PAIR, "site", pl.col("basis").fill_null(0), pl.col("facility"))
    )
    power, gpus = (Lists.grouped(*_indexed(frame, subjects)) for frame in (made_of, gpus_of))
    owners = Lists.grouped(sources["owner"].cast(pl.Int64).to_numpy(), sources["source"].to_numpy())
    meters = above(registry, sources, made_of)
    counted = _counted(len(subjects), power, gpus, meters)
    return Members(subjects, sources, owners, power, gpus, meters, _behind(power, meters), counted)


def _behind(power: Lists, meters: Above) -> Behind:
    """Pair each subject with the groups that its sources are in."""
    group, subject = meters.group[power.of], power.whose
    has_any = group >= 0
    width = int(meters.group.max(initial=0)) + 1
    keys, pair = np.unique(subject[has_any] * width + group[has_any], return_inverse=True)
    return Behind(
        pairs=Lists.grouped(pair, power.of[has_any]),
        of_subject=Lists.grouped(keys // width, np.arange(len(keys))),
        group=keys % width,
        alone=Lists.grouped(subject[~has_any], power.of[~has_any]),
    )


def _counted(subjects: int, power: Lists, gpus: Lists, meters: Above) -> Counted:
    """Give subjects whose sources are in the same groups the same circle."""
    groups: dict[int, set[int]] = {}
    for subject, group in zip(power.whose.tolist(), meters.group[power.of].tolist(), strict=True):
        if group >= 0:
            groups.setdefault(subject, set()).add(group)
    number: dict[frozenset[int], int] = {}
    circle = np.full(subjects, -1)
    for subject, its in groups.items():
        circle[subject] = number.setdefault(frozenset(its), len(number))
    members = [_sources_of(its, meters) for its in number]
    pairs = [(n, source) for n, its in enumerate(members) for source in its]
    circles = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    whose, source = np.append(power.whose, gpus.whose), np.append(power.of, gpus.of)
    within = np.zeros((len(number) + 1, int(source.max(initial=0)) + 1), dtype=bool)
    known = circles[circles[:, 1] < within.shape[1]]
    within[known[:, 0], known[:, 1]] = True
    is_own = ~within[circle[whose], source]
    own = Lists.grouped(whose[is_own], source[is_own])
    return Counted(circle, Lists.grouped(circles[:, 0], circles[:, 1]), own)


def _sources_of(groups: Iterable[int], meters: Above) -> set[int]:
    """Return the meters of some groups and all that they carry."""
    both = (lists.of[np.isin(lists.whose, list(groups))] for lists in (meters.meters, meters.parts))
    return {source for each in both for source in each.tolist()}


def _sources(registry: Registry) -> pl.DataFrame:
    # Not `rated`: a breaker carries more than that for minutes before it trips.
    nameplates = registry.limits.filter(limit="nameplate").select("watts", subject_kind="kind", subject="id")
    meters = registry.meters.join(nameplates, on=_PAIR, how="left").select(
        kind=pl.lit(SubjectKind.METER, pl.Int8), id="meter", watts="watts", rest=pl.lit(None, pl.Float64), parts=1,
        shared=pl.struct(pl.col("subject_kind").cast(pl.Int32), "subject", pl.col("level").cast(pl.Int32)),
    )  # fmt: skip
    racks = registry.racks.select(
        kind=pl.lit(SubjectKind.RACK, pl.Int8), id="rack", watts="nameplate_watts", rest="rest_watts", parts="gpus",
        shared=pl.struct(subject_kind=pl.lit(-1, pl.Int32), subject="rack", level=pl.lit(0, pl.Int32)),
    )  # fmt: skip
    return (
        pl.concat([meters, racks], how="vertical_relaxed")
        .sort("kind", "id")
        .select(
            "kind",
            "id",
            nameplate_milliwatts=(pl.col("watts") * 1000).round().cast(pl.Int64).fill_null(UNKNOWN_POWER),
            rest_milliwatts=(pl.col("rest") * 1000).round().cast(pl.Int64).fill_null(0),
            parts=pl.col("parts").cast(pl.Int32),
            owner=pl.col("shared").rank("dense"),
        )
        .with_row_index("source")
        .with_columns(pl.col("source").cast(pl.Int64))
    )


def _power(registry: Registry, sources: pl.DataFrame) -> pl.DataFrame:
    """Return frame (subject_kind, subject, source, basis) of power."""
    meters = sources.filter(pl.col("kind") == SubjectKind.METER).select("source", meter="id")
    metered = registry.sums.join(meters, on="meter").select(*_PAIR, "source", "basis")
    racks = metered.filter(pl.col("subject_kind") == SubjectKind.RACK)
    by_gpus = (
        registry.racks.filter(pl.col("gpus") > 0)
        .select(subject_kind=pl.lit(SubjectKind.RACK, pl.Int8), subject="rack")
        .join(racks, on=_PAIR, how="anti")
        .join(sources.filter(pl.col("kind") == SubjectKind.RACK).select("source", subject="id"), on="subject")
        .select(*_PAIR, "source", basis=pl.lit(ESTIMATE, pl.Int8))
    )
    racks = pl.concat([racks, by_gpus])
    above = [_of_places(registry, racks, kind) for kind in (SubjectKind.ROW, SubjectKind.HALL, SubjectKind.SITE)]
    sums = pl.concat(above).join(metered.select(_PAIR).unique(), on=_PAIR, how="anti")
    return pl.concat([metered, by_gpus, sums])


def _of_places(registry: Registry, racks: pl.DataFrame, kind: SubjectKind) -> pl.DataFrame:
    """Return the sources of racks as those of the rows, halls or sites that they stand in."""
    place = {SubjectKind.ROW: "row", SubjectKind.HALL: "hall", SubjectKind.SITE: "site"}[kind]
    where = registry.racks.select(pl.col(place).alias("place"), subject="rack").drop_nulls()
    basis = pl.max_horizontal(pl.col("basis"), pl.lit(DERIVED)).cast(pl.Int8)
    return racks.join(where, on="subject").select(
        pl.lit(kind, pl.Int8).alias("subject_kind"), pl.col("place").alias("subject"), "source", basis.alias("basis")
    )


def _gpus(registry: Registry, sources: pl.DataFrame) -> pl.DataFrame:
    """Return frame (subject_kind, subject, source) of the racks whose GPUs are a subject's."""
    racks = (
        registry.racks.filter(pl.col("gpus") > 0)
        .select(subject="rack")
        .join(sources.filter(pl.col("kind") == SubjectKind.RACK).select("source", subject="id"), on="subject")
        .select(
            subject_kind=pl.lit(SubjectKind.RACK, pl.Int8),
            subject="subject",
            source="source",
            basis=pl.lit(ESTIMATE, pl.Int8),
        )
    )
    above = [_of_places(registry, racks, kind) for kind in (SubjectKind.ROW, SubjectKind.HALL, SubjectKind.SITE)]
    return pl.concat([racks, *above]).drop("basis")


def _sites(registry: Registry) -> pl.DataFrame:
    """Return frame (subject_kind, subject, site) of every place and device."""
    frames = [
        frame.select(subject_kind="kind", subject="id", site="site") for frame in (registry.places, registry.power)
    ]
    return pl.concat(frames, how="vertical_relaxed").unique(_PAIR)


def _indexed(frame: pl.DataFrame, subjects: pl.DataFrame) -> tuple[Ints, Ints]:
    index = subjects.select(*_PAIR).with_row_index("index")
    joined = frame.select(*_PAIR, "source").join(index, on=_PAIR)
    return joined["index"].cast(pl.Int64).to_numpy(), joined["source"].to_numpy()
