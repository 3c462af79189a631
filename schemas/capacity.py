"""Capacity: what is agreed or drawn below against what stands above, with every side and with one side lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas import layout
from schemas.facility import Facility, Feed, Panel, UpsGroup
from schemas.findings import Finding
from schemas.layout import PlacedRack
from schemas.paths import parent_of, site_of


def doubts(facility: Facility, file: str) -> list[Finding]:
    """Return a warning for every limit that what hangs below may pass. Pure; `facility` is without errors."""
    placed = layout.racks(facility)
    return [
        *_budgets(facility, placed, file),
        *_tree(facility, placed, file),
        *_shared_fates(facility, file),
        *_unfed(facility, placed, file),
    ]


def _budgets(facility: Facility, placed: list[PlacedRack], file: str) -> Iterator[Finding]:
    """Compare the limits of children with their parent's, from rows up to sites."""
    below: defaultdict[str, float] = defaultdict(float)
    for rack in placed:
        below[rack.row] += rack.agreed_watts
    for path, hall_path, row in layout.rows(facility):
        yield from _over("the limits of its racks add up", below[path], ("budget_watts", row.budget_watts), path, file)
        below[hall_path] += row.budget_watts or below[path]
    for path, site, hall in layout.halls(facility):
        yield from _over("the limits of its rows add up", below[path], ("budget_watts", hall.budget_watts), path, file)
        below[site.id] += hall.budget_watts or below[path]
    for site in facility.sites:
        yield from _over(
            "the limits of its halls add up", below[site.id], ("budget_watts", site.budget_watts), site.id, file
        )
        agreed = site.budget_watts or below[site.id]
        yield from _over("what is agreed adds up", agreed, ("contract_watts", site.contract_watts), site.id, file)


def _over(what: str, watts: float, named: tuple[str, float | None], where: str, file: str) -> Iterator[Finding]:
    key, limit = named
    if limit is not None and watts > limit * (1 + 1e-9):
        message = f"{what} to {kilowatts(watts)}, over its {key} of {kilowatts(limit)}"
        yield Finding("warning", "oversubscribed", file, where, message)


@dataclass
class _Load:
    """Sum what hangs below a device, in watts: agreed, with all sides up; at nameplate, with this side alone."""

    agreed: float = 0.0
    alone: float = 0.0
    inputs: Counter[str] = field(default_factory=Counter)
    """How many inputs of each rack hang here: both of them below an N+1 group."""


def _tree(facility: Facility, placed: list[PlacedRack], file: str) -> Iterator[Finding]:
    """Compare breakers and UPS groups with the racks below: shared between the sides, and one side alone."""
    hanging = layout.feed_racks(facility, placed)
    sides = Counter(path for _, on in hanging for path in on)
    usable, rated = _ratings(facility)
    for path, load in _loads(facility, placed, sides).items():
        if path not in rated:
            continue
        if load.agreed > usable[path] * (1 + 1e-9):
            drawn = f"its racks are agreed to draw {kilowatts(load.agreed)} here"
            message = f"{drawn}, over the usable {kilowatts(usable[path])}"
            yield Finding("warning", "oversubscribed", file, path, message)
        if load.alone > rated[path] * (1 + 1e-9):
            over = f"{kilowatts(load.alone)}, over its rating of {kilowatts(rated[path])}"
            if any(count < sides[rack] for rack, count in load.inputs.items()):
                message = f"fails when its twin does: alone it would carry, at nameplate, {over}"
                yield Finding("warning", "fails-with-twin", file, path, message)
            else:
                yield Finding("warning", "oversubscribed", file, path, f"at nameplate it carries {over}")


def _loads(facility: Facility, placed: list[PlacedRack], sides: Counter[str]) -> dict[str, _Load]:
    devices: list[Feed | Panel | UpsGroup] = [*facility.feeds, *facility.panels, *facility.ups_groups]
    above = {device.id: device.fed_by for device in devices}
    by_path = {rack.path: rack for rack in placed}
    loads: defaultdict[str, _Load] = defaultdict(_Load)
    for feed, on in layout.feed_racks(facility, placed):
        for device in _upwards(feed.id, above):
            for path in on:
                rack, load = by_path[path], loads[device]
                load.agreed += rack.agreed_watts / sides[path]
                load.alone += 0.0 if path in load.inputs else rack.nameplate_watts or 0.0
                load.inputs[path] += 1
    return loads


def _upwards(path: str, above: dict[str, str]) -> Iterator[str]:
    seen: set[str] = set()
    while path and path not in seen:
        yield path
        seen.add(path)
        path = above.get(path, "")


def _ratings(facility: Facility) -> tuple[dict[str, float], dict[str, float]]:
    """Return the usable and the rated watts of every device that has a rating."""
    usable: dict[str, float] = {}
    rated: dict[str, float] = {}
    for feed in facility.feeds:
        breaker = layout.feed_breaker(facility, feed)
        if breaker is not None:
            rated[feed.id] = layout.rated_watts(breaker)
            usable[feed.id] = rated[feed.id] * breaker.usable_fraction
    for panel in facility.panels:
        rated[panel.id] = layout.rated_watts(panel)
        usable[panel.id] = rated[panel.id] * panel.usable_fraction
    for group in facility.ups_groups:
        usable[group.id] = rated[group.id] = layout.ups_watts(group)
    for utility in facility.utilities:
        if utility.rated_watts is not None:
            usable[utility.id] = rated[utility.id] = utility.rated_watts
    return usable, rated


def _shared_fates(facility: Facility, file: str) -> Iterator[Finding]:
    """Find twins behind one panel, or behind one UPS group without a spare unit: one failure takes both."""
    panels = {panel.id: panel.fed_by for panel in facility.panels}
    redundancy = {group.id: group.redundancy for group in facility.ups_groups}
    fed_by = {feed.id: feed.fed_by for feed in facility.feeds}
    for feed in facility.feeds:
        if feed.twin is None or feed.side == "b":
            continue
        panel, other = feed.fed_by, fed_by[feed.twin]
        group, other_group = panels[panel], panels[other]
        shared = panel if panel == other else group if group == other_group else None
        if shared is not None and (shared == panel or redundancy.get(shared) == "n"):
            message = f"fails when its twin does: {feed.twin} hangs on {shared} as well, which has no spare"
            yield Finding("warning", "fails-with-twin", file, feed.id, message)


def _unfed(facility: Facility, placed: list[PlacedRack], file: str) -> Iterator[Finding]:
    """Find racks, or single inputs of racks, that hang on no feed in a site that describes its feeds."""
    with_feeds = {site_of(feed.id) for feed in facility.feeds}
    fed = {(path, feed.side) for feed, on in layout.feed_racks(facility, placed) for path in on}
    missing: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for rack in placed:
        if site_of(rack.path) not in with_feeds:
            continue
        sides = [side for side in ("a", "b") if side in rack.meters] or ["a", "b"]
        on = [side for side in sides if (rack.path, side) in fed]
        if not on:
            missing[parent_of(rack.path), "on no feed"].append(rack.path)
        elif "a" in rack.meters and "b" in rack.meters and len(on) == 1:
            missing[parent_of(rack.path), f"on a feed of side {on[0]!r} only, but have meters a and b"].append(
                rack.path
            )
    for (row, what), racks in missing.items():
        message = f"{len(racks)} of its racks hang {what}, the first is {racks[0]}"
        yield Finding("warning", "not-fed", file, row, message)


def kilowatts(watts: float) -> str:
    """Return watts as a person reads them here: `1,584 kW`."""
    return f"{watts / 1000:,.4g} kW" if watts < 1_000_000 else f"{watts / 1000:,.0f} kW"
