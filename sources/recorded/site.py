"""The facility of recorded runs: every run a site of its own, made from the logs where the user names none.

Runs were recorded at different places and times, and a site is what is summed and closed together. Every
meter stands in a rack of its own, since no log says which of them share one: an analyser is the rack's
input, a node's log is the meter of the rack's only node. Paths depend on where the run's folder lies (its
last four names) and on the time of the meter's first reading, not on what else is replayed, so the same log
gets the same path again and two runs never share a meter.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from schemas.facility import Facility, Hall, Level, Meter, Name, RackRange, RackType, Row, Site
from schemas.paths import numbered
from schemas.registry import Registry
from schemas.subject import MeterLevel
from sources.recorded.runs import RecordedMeter, Run

LONGEST_NAME = 120
TYPES = {
    MeterLevel.RACK_INPUT: RackType(nodes=0, gpus_per_node=0, meters=()),
    MeterLevel.NODE: RackType(nodes=1, gpus_per_node=0, meters=()),
}
LEVELS: dict[MeterLevel, Level] = {MeterLevel.RACK_INPUT: "rack_input", MeterLevel.NODE: "node"}

Rows = dict[str, dict[str, dict[MeterLevel, list[str]]]]
"""Racks of a site by hall, row and the level at which they are metered."""


@dataclass(frozen=True)
class PlacedMeter:
    """Say where a meter stands: its own path and that of what it measures, a rack or a rack's only node."""

    path: str
    measures: str
    level: MeterLevel
    interval_seconds: float


def site_of(run: Run) -> str:
    """Return the site that a run stands for where the user names none."""
    return slug(run.name)


def place(run: Run, meter: RecordedMeter, site: str | None = None) -> PlacedMeter:
    """Return the place of one recorded meter; pure, and the same whatever else is replayed."""
    parts = run.name.split("/")
    hall, row = slug(" ".join(parts[:-2]) or run.format), slug(" ".join(parts[-2:]))
    name = f"{slug(meter.log.name, room=25)}-{_digest(f'{run.format} {meter.first}')}"
    rack = f"{site or site_of(run)}/{hall}/{row}/{name}"
    measures = f"{rack}/{numbered('n', 1)}" if meter.log.level == MeterLevel.NODE else rack
    return PlacedMeter(f"{measures}/meter", measures, meter.log.level, meter.interval_seconds or 1.0)


def placed_before(registry: Registry | None, sites: Iterable[str]) -> list[PlacedMeter]:
    """Return the meters that earlier replays placed in these sites: what was replayed keeps its place."""
    if registry is None:
        return []
    ours = pl.col("path").str.contains(r"^[^/]+(?:/[^/]+){3,4}/meter$") & pl.col("level").is_in(list(LEVELS))
    theirs = pl.col("path").str.extract(r"^([^/]+)").is_in(list(sites))
    return [
        PlacedMeter(row["path"], row["path"].rpartition("/")[0], MeterLevel(row["level"]), row["interval_seconds"])
        for row in registry.meters.filter(ours & theirs).iter_rows(named=True)
    ]


def derive(placed: Iterable[PlacedMeter], names: Mapping[str, str] = {}) -> Facility:
    """Return the facility of these meters: no limits, no nameplates, one rack a meter; of two equal paths the last.

    `names` gives names of sites for people.
    """
    meters = {meter.path: meter for meter in placed}
    sites: dict[str, Rows] = {}
    for meter in meters.values():
        site, hall, row, rack, *_ = meter.path.split("/")
        rows = sites.setdefault(site, {}).setdefault(hall, {}).setdefault(row, {})
        rows.setdefault(meter.level, []).append(rack)
    return Facility(
        schema_version=1,
        rack_types={_type(level): kind for level, kind in TYPES.items()},
        sites=tuple(_site(site, names.get(site, site), halls) for site, halls in sites.items()),
        meters=tuple(_meter(meter) for meter in meters.values()),
    )


def slug(text: str, room: int = 32) -> str:
    """Return `text` as one segment of a path, at most `room` characters; what is cut is told apart by a digest."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
    return plain if len(plain) <= room else f"{plain[: room - 7].rstrip('-')}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _site(site: str, name: str, halls: Rows) -> Site:
    return Site(
        id=site,
        name=Name(en=name[-LONGEST_NAME:]),
        time_zone="UTC",
        halls=tuple(
            Hall(id=hall, rows=tuple(Row(id=row, racks=_ranges(kinds)) for row, kinds in rows.items()))
            for hall, rows in halls.items()
        ),
    )


def _ranges(kinds: dict[MeterLevel, list[str]]) -> tuple[RackRange, ...]:
    return tuple(RackRange(type=_type(level), ids=tuple(ids)) for level, ids in kinds.items())


def _type(level: MeterLevel) -> str:
    return LEVELS[level].replace("_", "-")


def _meter(meter: PlacedMeter) -> Meter:
    level, interval = LEVELS[meter.level], meter.interval_seconds
    return Meter(id=meter.path, measures=meter.measures, level=level, interval_seconds=interval)
