"""The layout: what a facility comes to when ranges, types, exceptions and globs are spelled out.

Everything here is a pure function of a Facility and tolerates one that `schemas.references` would
refuse: what names something unknown is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TypeVar

from schemas.facility import (
    Branch,
    Facility,
    Feed,
    Hall,
    Meter,
    Name,
    RackException,
    RackRange,
    Row,
    Side,
    Site,
    UpsGroup,
)
from schemas.paths import PathIndex, numbered, parent_of
from schemas.subject import MeterLevel, SubjectKind

T = TypeVar("T")

LEVELS: dict[str, MeterLevel] = {level.name.lower(): level for level in MeterLevel}


@dataclass(frozen=True)
class PlacedRack:
    """Describe one rack with its type and its exception already applied."""

    path: str
    row: str
    type: str
    name: Name | None
    nodes: int
    gpus_per_node: int
    nameplate_watts: float | None
    budget_watts: float | None
    rest_watts: float | None
    vendor: str | None
    model: str | None
    gpu_nameplate_watts: float | None
    meters: tuple[str, ...]
    meter_interval_seconds: float

    @property
    def agreed_watts(self) -> float:
        """Return its budget, else its nameplate, else 0 where neither is known."""
        return self.budget_watts or self.nameplate_watts or 0.0

    @property
    def node_paths(self) -> list[str]:
        """Return the paths of the nodes, from n01."""
        return [f"{self.path}/{numbered('n', number)}" for number in range(1, self.nodes + 1)]


@dataclass(frozen=True)
class PlacedMeter:
    """Describe one meter; `feed` is the feed that a rack_input hangs on."""

    path: str
    level: MeterLevel
    measures: str
    interval_seconds: float
    side: Side | None = None
    feed: str | None = None


def halls(facility: Facility) -> Iterator[tuple[str, Site, Hall]]:
    """Yield (path, site, hall) of every hall."""
    for site in facility.sites:
        for hall in site.halls:
            yield f"{site.id}/{hall.id}", site, hall


def rows(facility: Facility) -> Iterator[tuple[str, str, Row]]:
    """Yield (path, path of the hall, row) of every row."""
    for hall_path, _, hall in halls(facility):
        for row in hall.rows:
            yield f"{hall_path}/{row.id}", hall_path, row


def names_in(racks: RackRange) -> list[str]:
    """Return the segments that a range gives to its racks, in order."""
    if racks.ids is not None:
        return list(racks.ids)
    if racks.first is None or racks.last is None:
        return []
    return [numbered(racks.prefix, number) for number in range(racks.first, racks.last + 1)]


def ranged_racks(facility: Facility) -> list[tuple[str, str, str]]:
    """Return (path, path of the row, type) of every rack of every range, before exceptions."""
    return [
        (f"{row_path}/{name}", row_path, racks.type)
        for row_path, _, row in rows(facility)
        for racks in row.racks
        for name in names_in(racks)
    ]


def racks(facility: Facility) -> list[PlacedRack]:
    """Return every rack: those of the ranges in order, then those that exceptions add."""
    ranged = ranged_racks(facility)
    known = {path for path, _, _ in ranged}
    row_paths = {path for path, _, _ in rows(facility)}
    added = [
        (path, parent_of(path), exception.type)
        for path, exception in facility.racks.items()
        if exception.type is not None and path not in known and parent_of(path) in row_paths
    ]
    placed = (_place(facility, *rack) for rack in [*ranged, *added])
    return [rack for rack in placed if rack is not None]


def _place(facility: Facility, path: str, row: str, type_name: str) -> PlacedRack | None:
    exception = facility.racks.get(path, RackException())
    type_name = exception.type or type_name
    built = facility.rack_types.get(type_name)
    if built is None or exception.absent:
        return None
    return PlacedRack(
        path=path,
        row=row,
        type=type_name,
        name=exception.name,
        nodes=_or(exception.nodes, built.nodes),
        gpus_per_node=built.gpus_per_node,
        nameplate_watts=_or(exception.nameplate_watts, built.nameplate_watts),
        budget_watts=_or(exception.budget_watts, built.budget_watts),
        rest_watts=built.rest_watts,
        vendor=built.vendor,
        model=built.model,
        gpu_nameplate_watts=built.gpu_nameplate_watts,
        meters=_or(exception.meters, built.meters),
        meter_interval_seconds=built.meter_interval_seconds,
    )


def _or(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value


def feed_breaker(facility: Facility, feed: Feed) -> Branch | None:
    """Return the breaker of a feed: its own keys over those of its type; None where neither says it all."""
    kept = facility.feed_types.get(feed.type or "")
    keys = kept.model_dump() if kept else {}
    keys |= {name: getattr(feed, name) for name in Branch.model_fields if getattr(feed, name) is not None}
    if keys.get("rated_amps") is None or keys.get("voltage_volts") is None:
        return None
    return Branch(**{name: value for name, value in keys.items() if name in Branch.model_fields})


def rated_watts(branch: Branch) -> float:
    """Return what a breaker carries at its rating: √3 · U · I · PF with three phases, U · I · PF with one."""
    factor = sqrt(3.0) if branch.phases == 3 else 1.0
    return factor * branch.voltage_volts * branch.rated_amps * branch.power_factor


def feed_racks(facility: Facility, placed: list[PlacedRack]) -> list[tuple[Feed, list[str]]]:
    """Return every feed with the paths of the racks that hang on it, each once."""
    index = PathIndex(rack.path for rack in placed)
    return [
        (feed, list(dict.fromkeys(path for glob in feed.racks for path in index.matching(glob))))
        for feed in facility.feeds
    ]


def meters(facility: Facility, placed: list[PlacedRack], hanging: list[tuple[Feed, list[str]]]) -> list[PlacedMeter]:
    """Return every meter, those that types and `metered` imply first."""
    return [*implied_meters(facility, placed, hanging), *explicit_meters(facility, hanging)]


def implied_meters(
    facility: Facility, placed: list[PlacedRack], hanging: list[tuple[Feed, list[str]]]
) -> list[PlacedMeter]:
    """Return the meters of racks by their type, and of feeds, panels and UPS groups that are `metered`."""
    feed_of = _feed_by_rack_and_side(hanging)
    return [*(meter for rack in placed for meter in _rack_meters(rack, feed_of)), *_tree_meters(facility)]


def explicit_meters(facility: Facility, hanging: list[tuple[Feed, list[str]]]) -> list[PlacedMeter]:
    """Return the meters of `[[meters]]`."""
    feed_of = _feed_by_rack_and_side(hanging)
    return [_explicit(meter, feed_of) for meter in facility.meters]


def _feed_by_rack_and_side(hanging: list[tuple[Feed, list[str]]]) -> dict[tuple[str, str], str]:
    return {(rack, feed.side): feed.id for feed, on in hanging for rack in on}


def _rack_meters(rack: PlacedRack, feed_of: dict[tuple[str, str], str]) -> Iterator[PlacedMeter]:
    for name in rack.meters:
        side: Side | None = "a" if name == "a" else "b" if name == "b" else None
        yield PlacedMeter(
            path=f"{rack.path}/{name}",
            level=MeterLevel.RACK_INPUT,
            measures=rack.path,
            interval_seconds=rack.meter_interval_seconds,
            side=side,
            feed=feed_of.get((rack.path, side or "")),
        )


def _tree_meters(facility: Facility) -> Iterator[PlacedMeter]:
    for level, devices in (
        (MeterLevel.FEED, facility.feeds),
        (MeterLevel.PANEL, facility.panels),
        (MeterLevel.UPS, facility.ups_groups),
    ):
        for device in devices:
            if device.metered:
                yield PlacedMeter(f"{device.id}/m", level, device.id, device.meter_interval_seconds)


def _explicit(meter: Meter, feed_of: dict[tuple[str, str], str]) -> PlacedMeter:
    feed = feed_of.get((meter.measures, meter.side or ""))
    return PlacedMeter(meter.id, LEVELS[meter.level], meter.measures, meter.interval_seconds, meter.side, feed)


def kinds(facility: Facility, placed: list[PlacedRack]) -> dict[str, SubjectKind]:
    """Return path → kind of every place and every device of the power tree."""
    return {
        **{site.id: SubjectKind.SITE for site in facility.sites},
        **{path: SubjectKind.HALL for path, _, _ in halls(facility)},
        **{path: SubjectKind.ROW for path, _, _ in rows(facility)},
        **{rack.path: SubjectKind.RACK for rack in placed},
        **{node: SubjectKind.NODE for rack in placed for node in rack.node_paths},
        **{feed.id: SubjectKind.FEED for feed in facility.feeds},
        **{panel.id: SubjectKind.PANEL for panel in facility.panels},
        **{group.id: SubjectKind.UPS_GROUP for group in facility.ups_groups},
        **{utility.id: SubjectKind.UTILITY for utility in facility.utilities},
    }


def ups_watts(group: UpsGroup) -> float:
    """Return what a UPS group may carry: all its units, or all but one where it is n+1."""
    spare = 1 if group.redundancy == "n+1" else 0
    return group.unit_watts * (group.units - spare)
