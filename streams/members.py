"""Members: which sources (meters, and racks as the sum of their GPUs) make up each subject of a facility.

Static index arrays from the registry, so that a second of the whole campus is a few gathers and sums.
A rack is the sum of its rack inputs, else of its shelves, else of its nodes' meters (schemas.metering),
else of its GPUs with the modelled rest where the registry gives one, which is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from schemas.metering import DERIVED
from schemas.subject import SubjectKind
from streams.condition import Bools, Codes, Ints

if TYPE_CHECKING:
    from schemas.registry import Registry

ESTIMATE = 3
PLACES = [SubjectKind.SITE, SubjectKind.HALL, SubjectKind.ROW, SubjectKind.RACK, SubjectKind.NODE]
UNKNOWN_POWER = -1
"""Nameplate of a source of which the registry gives none."""


class Lists(NamedTuple):
    """Hold one list of indices a subject: `of[first[i] : first[i] + count[i]]`; `some` are the subjects with any."""

    of: Ints
    some: Ints
    first: Ints

    @classmethod
    def grouped(cls, subject: Ints, member: Ints) -> Lists:
        """Return the lists of pairs (subject, member)."""
        order = np.lexsort((member, subject))
        some, first = np.unique(subject[order], return_index=True)
        return cls(member[order], some, first)


@dataclass(frozen=True)
class Members:
    """Hold the subjects of all sites, ordered by (site, kind, id), and what each is made of.

    `subjects`: frame subject_kind i8, subject i32, site i32, basis i8, facility i32 (its site's version).
    `sources`: frame kind i8 (METER or RACK), id i32, nameplate_milliwatts i64 (UNKNOWN_POWER where not
    known), rest_milliwatts i64, parts i32. `owners` lists the sources that share the nameplate of what they
    measure, as the two sides of a rack do. `power`, `gpus` and `all` list, per subject, the sources of its
    power, of its GPU columns, and both.
    """

    subjects: pl.DataFrame
    sources: pl.DataFrame
    owners: Lists
    power: Lists
    gpus: Lists
    all: Lists

    @property
    def basis(self) -> Codes:
        """Return, per subject, how its power is made: 1 measured, 2 derived, 3 estimate."""
        return self.subjects["basis"].to_numpy()

    @property
    def has_all_sides(self) -> Bools:
        """Tell which subjects are places: with a source of a rack they have all the others of it."""
        return self.subjects["subject_kind"].is_in(PLACES).to_numpy()

    @property
    def has_one_source(self) -> Bools:
        """Tell which subjects are one meter, so that its current is theirs."""
        counts = np.zeros(len(self.subjects), dtype=np.int64)
        counts[self.power.some] = np.diff(np.append(self.power.first, len(self.power.of)))
        is_one: Bools = counts == 1
        return is_one


_PAIR = ["subject_kind", "subject"]


def members_of(registry: Registry) -> Members:
    """Return the members of every subject that has any."""
    sources = _sources(registry)
    power = _power(registry, sources)
    gpus = _gpus(registry, sources)
    basis = power.group_by(_PAIR).agg(pl.col("basis").max())
    subjects = (
        pl.concat([power.select(_PAIR), gpus.select(_PAIR)])
        .unique()
        .join(basis, on=_PAIR, how="left")
        .join(_sites(registry), on=_PAIR, how="left")
        .join(registry.sites.select("site", facility="version"), on="site", how="left")
        .sort("site", *_PAIR)
        .select(*_PAIR, "site", pl.col("basis").fill_null(0), pl.col("facility"))
    )
    lists = [
        Lists.grouped(*_indexed(frame, subjects)) for frame in (power, gpus, pl.concat([power.drop("basis"), gpus]))
    ]
    both = lists[2]
    twice = np.r_[False, (both.of[1:] == both.of[:-1])] & ~np.isin(np.arange(len(both.of)), both.first)
    whose = np.repeat(both.some, np.diff(np.append(both.first, len(both.of))))
    owners = Lists.grouped(sources["owner"].cast(pl.Int64).to_numpy(), sources["source"].to_numpy())
    return Members(subjects, sources, owners, lists[0], lists[1], Lists.grouped(whose[~twice], both.of[~twice]))


def _sources(registry: Registry) -> pl.DataFrame:
    nameplates = (
        registry.limits.filter(pl.col("limit").is_in(["nameplate", "rated"]))
        .sort("limit")
        .group_by(subject_kind="kind", subject="id")
        .agg(pl.col("watts").first())
    )
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
