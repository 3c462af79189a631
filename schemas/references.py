"""References: what is wrong between the parts of a facility: ids given twice, names of nothing, loops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo, available_timezones

from schemas import layout
from schemas.facility import Facility, Feed, Panel, UpsGroup, Utility
from schemas.findings import Finding, nearest, some
from schemas.layout import PlacedMeter
from schemas.paths import CANARY_SITE, PathIndex, parent_of, site_of
from schemas.subject import MeterLevel, SubjectKind

MEASURED_BY: dict[MeterLevel, tuple[SubjectKind, ...]] = {
    MeterLevel.UTILITY: (SubjectKind.SITE, SubjectKind.UTILITY),
    MeterLevel.GENERATOR: (SubjectKind.SITE,),
    MeterLevel.UPS: (SubjectKind.UPS_GROUP,),
    MeterLevel.PANEL: (SubjectKind.PANEL,),
    MeterLevel.FEED: (SubjectKind.FEED,),
    MeterLevel.RACK_INPUT: (SubjectKind.RACK,),
    MeterLevel.SHELF: (SubjectKind.RACK,),
    MeterLevel.NODE: (SubjectKind.NODE,),
    MeterLevel.COOLING: (SubjectKind.SITE, SubjectKind.HALL),
}
"""What a meter of a level may measure."""

_FED_BY: dict[str, tuple[SubjectKind, ...]] = {
    "ups_groups": (SubjectKind.UTILITY,),
    "panels": (SubjectKind.UPS_GROUP, SubjectKind.UTILITY),
    "feeds": (SubjectKind.PANEL,),
}

_WORDS: dict[type, str] = {Utility: "utility", UpsGroup: "UPS group", Panel: "panel", Feed: "feed"}

Device = UpsGroup | Panel | Feed


def errors(facility: Facility, file: str) -> list[Finding]:
    """Return every error between the parts of `facility`. Pure."""
    return _References(facility, file).errors()


class _References:
    def __init__(self, facility: Facility, file: str) -> None:
        self.facility = facility
        self.file = file
        self.placed = layout.racks(facility)
        self.hanging = layout.feed_racks(facility, self.placed)
        self.kinds = layout.kinds(facility, self.placed)
        self.nodes = {rack.path: rack.node_paths for rack in self.placed}
        self.implied = layout.implied_meters(facility, self.placed, self.hanging)
        self.explicit = layout.explicit_meters(facility, self.hanging)

    def errors(self) -> list[Finding]:
        """Return every error, in the order of the file."""
        return [
            *self._sites(),
            *self._rack_types(),
            *self._rack_ranges(),
            *self._rack_exceptions(),
            *self._doubles(),
            *self._devices(),
            *self._feeds(),
            *self._feed_sides(),
            *self._meters(),
        ]

    def _error(self, code: str, where: str, message: str) -> Finding:
        return Finding("error", code, self.file, where, message)

    def _unknown(self, where: str, what: str, name: str, allowed: Sequence[str]) -> Finding:
        near = nearest(name, allowed)
        known = "" if near else f"; known: {some(allowed)}"
        return self._error("unknown-reference", where, f"{what} {name!r} does not exist{near}{known}")

    def _sites(self) -> Iterator[Finding]:
        if not self.facility.sites:
            yield self._error("missing-key", "sites", "a facility needs at least one [[sites]]")
        for site in self.facility.sites:
            if site.id == CANARY_SITE:
                message = "'canary' is the site of Wattline's own canary (docs/decisions/0026); give it another id"
                yield self._error("wrong-value", f"sites[{site.id}].id", message)
            if not _is_zone(site.time_zone):
                near = nearest(site.time_zone, available_timezones())
                message = f"{site.time_zone!r} is not a time zone{near}; allowed: names such as Asia/Riyadh"
                yield self._error("wrong-value", f"sites[{site.id}].time_zone", message)

    def _rack_types(self) -> Iterator[Finding]:
        for name, built in self.facility.rack_types.items():
            if built.gpus_per_node == 0:
                continue
            for key in ("vendor", "model", "gpu_nameplate_watts"):
                if getattr(built, key) is None:
                    message = f"{key} is needed where gpus_per_node is not 0"
                    yield self._error("missing-key", f"rack_types.{name}", message)

    def _rack_ranges(self) -> Iterator[Finding]:
        for path, _, row in layout.rows(self.facility):
            for racks in row.racks:
                if racks.type not in self.facility.rack_types:
                    yield self._unknown(f"{path} racks.type", "rack type", racks.type, list(self.facility.rack_types))
                if (racks.ids is None) == (racks.first is None) or (racks.first is None) != (racks.last is None):
                    yield self._error("wrong-value", f"{path} racks", "give either first and last, or ids")
                elif racks.first is not None and racks.last is not None and not 0 <= racks.last - racks.first < 1000:
                    message = f"first = {racks.first}, last = {racks.last}; allowed: first ≤ last, 1,000 racks a range"
                    yield self._error("wrong-value", f"{path} racks", message)

    def _rack_exceptions(self) -> Iterator[Finding]:
        ranged = {path for path, _, _ in layout.ranged_racks(self.facility)}
        row_paths = [path for path, _, _ in layout.rows(self.facility)]
        for path, exception in self.facility.racks.items():
            where = f'racks."{path}"'
            if exception.type is not None and exception.type not in self.facility.rack_types:
                yield self._unknown(f"{where}.type", "rack type", exception.type, list(self.facility.rack_types))
            if path in ranged:
                continue
            if exception.type is None:
                finding = self._unknown(where, "the rack", path, sorted(ranged))
                yield Finding(**finding.__dict__ | {"message": f"{finding.message}; a new rack needs a type"})
            elif parent_of(path) not in row_paths:
                yield self._unknown(where, "the row", parent_of(path), row_paths)

    def _doubles(self) -> Iterator[Finding]:
        """Find paths that name two things: nothing could tell them apart."""
        named: defaultdict[str, list[str]] = defaultdict(list)
        for path, what in self._names():
            named[path].append(what)
        for path, things in named.items():
            if len(things) > 1:
                message = f"the path {path!r} names {len(things)} things: {some(things)}; each needs its own"
                yield self._error("duplicate", path, message)

    def _names(self) -> Iterator[tuple[str, str]]:
        """Yield every path that the file gives, with what it names, as often as it gives it."""
        facility = self.facility
        yield from ((site.id, "site") for site in facility.sites)
        yield from ((path, "hall") for path, _, _ in layout.halls(facility))
        yield from ((path, "row") for path, _, _ in layout.rows(facility))
        yield from ((path, "rack") for path, _, _ in layout.ranged_racks(facility))
        yield from ((node, "node") for nodes in self.nodes.values() for node in nodes)
        yield from ((device.id, _WORDS[type(device)]) for device in self._tree())
        yield from ((meter.path, "meter") for meter in (*self.implied, *self.explicit))

    def _tree(self) -> list[Utility | UpsGroup | Panel | Feed]:
        facility = self.facility
        return [*facility.utilities, *facility.ups_groups, *facility.panels, *facility.feeds]

    def _devices(self) -> Iterator[Finding]:
        sites = [site.id for site in self.facility.sites]
        for device in self._tree():
            if site_of(device.id) not in sites:
                yield self._unknown(device.id, "the site", site_of(device.id), sites)
        for table, allowed in _FED_BY.items():
            devices: tuple[Device, ...] = getattr(self.facility, table)
            for device in devices:
                yield from self._fed_by(device, table, allowed)
        yield from self._twins(self.facility.ups_groups, "ups_groups")
        yield from self._twins(self.facility.feeds, "feeds")

    def _fed_by(self, device: Device, table: str, allowed: tuple[SubjectKind, ...]) -> Iterator[Finding]:
        where = f"{table}[{device.id}].fed_by"
        words = " or ".join(kind.name.lower() for kind in allowed)
        kind = self.kinds.get(device.fed_by)
        if kind is None:
            known = [path for path, kind in self.kinds.items() if kind in allowed]
            yield self._unknown(where, f"the {words}", device.fed_by, known)
        elif kind not in allowed:
            message = f"{device.fed_by!r} is of kind {kind.name.lower()}; allowed: {words}"
            yield self._error("wrong-reference", where, message)
        elif site_of(device.fed_by) != site_of(device.id):
            yield self._error("wrong-reference", where, f"{device.fed_by!r} lies in another site")

    def _twins(self, devices: Sequence[UpsGroup] | Sequence[Feed], table: str) -> Iterator[Finding]:
        by_id: dict[str, UpsGroup | Feed] = {device.id: device for device in devices}
        for device in devices:
            if device.twin is None:
                continue
            where = f"{table}[{device.id}].twin"
            twin = by_id.get(device.twin)
            if twin is None:
                yield self._unknown(where, "the twin", device.twin, list(by_id))
            elif twin.id == device.id:
                yield self._error("wrong-reference", where, "is its own twin")
            elif twin.twin != device.id:
                yield self._error("wrong-reference", where, f"{twin.id!r} has twin {twin.twin!r}, not this one")
            elif isinstance(device, Feed) and isinstance(twin, Feed) and device.side == twin.side:
                message = f'{twin.id!r} is on side {twin.side!r} as well; give one of them side = "b"'
                yield self._error("wrong-reference", where, message)

    def _feeds(self) -> Iterator[Finding]:
        index = PathIndex(rack.path for rack in self.placed)
        rows = PathIndex(path for path, _, _ in layout.rows(self.facility))
        globs = [f"{path}/*" for path, _, _ in layout.rows(self.facility)]
        for feed in self.facility.feeds:
            where = f"feeds[{feed.id}]"
            if feed.type is not None and feed.type not in self.facility.feed_types:
                yield self._unknown(f"{where}.type", "feed type", feed.type, list(self.facility.feed_types))
            elif layout.feed_breaker(self.facility, feed) is None:
                yield self._error("missing-key", where, "rated_amps and voltage_volts are needed, here or in its type")
            for glob in feed.racks:
                if not index.matching(glob) and not rows.matching(parent_of(glob)):
                    yield self._unknown(f"{where}.racks", "a rack like", glob, globs)

    def _feed_sides(self) -> Iterator[Finding]:
        on: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for feed, racks in self.hanging:
            for rack in racks:
                on[rack, feed.side].append(feed.id)
                if site_of(rack) != site_of(feed.id):
                    yield self._error("wrong-reference", f"feeds[{feed.id}].racks", f"{rack!r} lies in another site")
        double: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for (rack, side), feeds in on.items():
            if len(feeds) > 1:
                double[side, *feeds].append(rack)
        for (side, *feeds), racks in double.items():
            message = f"hang on side {side!r} of {' and of '.join(feeds)}: {some(racks, 4)}; a rack has one feed a side"
            yield self._error("duplicate", f"feeds[{feeds[-1]}].racks", message)

    def _meters(self) -> Iterator[Finding]:
        sites = [site.id for site in self.facility.sites]
        for meter in self.explicit:
            where = f"meters[{meter.path}]"
            if site_of(meter.path) not in sites:
                yield self._unknown(where, "the site", site_of(meter.path), sites)
            yield from self._measures(meter, where)

    def _measures(self, meter: PlacedMeter, where: str) -> Iterator[Finding]:
        kind = self.kinds.get(meter.measures)
        allowed = MEASURED_BY[meter.level]
        words = " or ".join(one.name.lower() for one in allowed)
        if kind is None:
            known = [path for path, kind in self.kinds.items() if kind in allowed]
            yield self._unknown(f"{where}.measures", f"the {words}", meter.measures, known)
        elif kind not in allowed:
            level = meter.level.name.lower()
            message = f"{meter.measures!r} is of kind {kind.name.lower()}; at level {level!r} allowed: {words}"
            yield self._error("wrong-reference", f"{where}.measures", message)
        elif site_of(meter.measures) != site_of(meter.path):
            yield self._error("wrong-reference", f"{where}.measures", f"{meter.measures!r} lies in another site")


def _is_zone(name: str) -> bool:
    """Tell whether `name` is a time zone; where the machine has no list of zones, nothing is refused."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return not available_timezones()
    return True
