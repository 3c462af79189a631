"""The facility of recorded runs: a site of its own, made from the logs where the user names none.

Every recorded meter stands in a rack of its own, since no log says which meters share one: an analyser
is the rack's input, a node's log is the meter of the rack's only node. Paths depend on where the run's
folder lies (its last four names) and on the time of the meter's first reading, not on what else is
replayed with it, so the same log gets the same path again and two runs never share a meter.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from schemas.facility import Facility, Hall, Level, Meter, Name, RackRange, RackType, Row, Site
from schemas.paths import numbered
from schemas.subject import MeterLevel
from sources.recorded.runs import RecordedMeter, Run

SITE = "recorded"
TYPES = {
    MeterLevel.RACK_INPUT: RackType(nodes=0, gpus_per_node=0, meters=()),
    MeterLevel.NODE: RackType(nodes=1, gpus_per_node=0, meters=()),
}
LEVELS: dict[MeterLevel, Level] = {MeterLevel.RACK_INPUT: "rack_input", MeterLevel.NODE: "node"}

Tree = dict[str, dict[str, dict[MeterLevel, list[str]]]]
"""Racks by hall, row and the level at which they are metered."""


@dataclass(frozen=True)
class PlacedMeter:
    """Say where a recorded meter stands: the path of its rack, its own path, and the path that it measures."""

    rack: str
    path: str
    measures: str


def place(run: Run, meter: RecordedMeter) -> PlacedMeter:
    """Return the place of one meter; pure, and the same whatever else is replayed."""
    parts = run.name.split("/")
    hall = slug(" ".join(parts[:-2]) or run.format)
    row = slug(" ".join(parts[-2:]))
    rack = f"{SITE}/{hall}/{row}/{slug(meter.log.name, room=25)}-{_digest(f'{run.format} {meter.first}')}"
    if meter.log.level == MeterLevel.NODE:
        return PlacedMeter(rack, f"{rack}/{numbered('n', 1)}/meter", f"{rack}/{numbered('n', 1)}")
    return PlacedMeter(rack, f"{rack}/meter", rack)


def derive(runs: Iterable[Run]) -> Facility:
    """Return the facility of these runs: no limits, no nameplates, one rack a meter."""
    racks: Tree = {}
    meters: dict[str, Meter] = {}
    for run in runs:
        for meter in run.meters:
            where = place(run, meter)
            _, hall, row, rack = where.rack.split("/")
            racks.setdefault(hall, {}).setdefault(row, {}).setdefault(meter.log.level, []).append(rack)
            meters[where.path] = _meter(where, meter)
    return Facility(
        schema_version=1,
        rack_types={_type(level): kind for level, kind in TYPES.items()},
        sites=(Site(id=SITE, name=Name(en="Recorded runs"), time_zone="UTC", halls=_halls(racks)),),
        meters=tuple(meters.values()),
    )


def slug(text: str, room: int = 32) -> str:
    """Return `text` as one segment of a path, at most `room` characters; what is cut is told apart by a digest."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
    return plain if len(plain) <= room else f"{plain[: room - 7].rstrip('-')}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _halls(racks: Tree) -> tuple[Hall, ...]:
    return tuple(
        Hall(id=hall, rows=tuple(Row(id=row, racks=_ranges(kinds)) for row, kinds in rows.items()))
        for hall, rows in racks.items()
    )


def _ranges(kinds: dict[MeterLevel, list[str]]) -> tuple[RackRange, ...]:
    return tuple(RackRange(type=_type(level), ids=tuple(dict.fromkeys(ids))) for level, ids in kinds.items())


def _type(level: MeterLevel) -> str:
    return level.name.lower().replace("_", "-")


def _meter(where: PlacedMeter, meter: RecordedMeter) -> Meter:
    return Meter(
        id=where.path,
        measures=where.measures,
        level=LEVELS[meter.log.level],
        interval_seconds=meter.interval_seconds or 1.0,
    )
