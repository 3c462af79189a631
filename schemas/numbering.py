"""The numbering: give every path of a facility its id and write the frames of each site."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import polars as pl

from schemas import layout
from schemas.facility import Facility, Name, Site
from schemas.layout import PlacedMeter, PlacedRack
from schemas.paths import parent_of, site_of
from schemas.site_frames import FRAMES
from schemas.subject import SubjectKind

Row = tuple[Any, ...]


class Ids:
    """Give out the ids of one kind: the known one of a name, else one more than the greatest ever given."""

    def __init__(self, known: dict[str, int]) -> None:
        self.known = dict(known)
        self._greatest = max(known.values(), default=0)
        self.in_force: set[str] = set()

    def of(self, name: str) -> int:
        """Return the id of `name` and note that it is in force."""
        self.in_force.add(name)
        if name not in self.known:
            self._greatest += 1
            self.known[name] = self._greatest
        return self.known[name]


@dataclass
class Known:
    """Hold the names that have an id already: by kind of subject, and vendors and models."""

    subjects: dict[SubjectKind, dict[str, int]] = field(default_factory=dict)
    vendors: dict[str, int] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)


def number(facility: Facility, known: Known) -> dict[str, dict[str, pl.DataFrame]]:
    """Return, by site, the frames FRAMES of `facility`, with the ids of `known` kept. Pure."""
    return _Numbering(facility, known).frames()


class _Numbering:
    """Walk the facility once, in its own order, so that equal files and histories give equal ids."""

    def __init__(self, facility: Facility, known: Known) -> None:
        self.facility = facility
        self.ids = {kind: Ids(known.subjects.get(kind, {})) for kind in SubjectKind}
        self.vendors = Ids(known.vendors)
        self.models = Ids(known.models)
        self.racks = layout.racks(facility)
        self.hanging = layout.feed_racks(facility, self.racks)
        self.meters = layout.meters(facility, self.racks, self.hanging)
        self.kinds = layout.kinds(facility, self.racks)
        self.rows: dict[str, dict[str, list[Row]]] = {site.id: defaultdict(list) for site in facility.sites}

    def frames(self) -> dict[str, dict[str, pl.DataFrame]]:
        """Return the frames of every site."""
        for site in self.facility.sites:
            self._add_site(site)
        for path, site, hall in layout.halls(self.facility):
            self._add_place(SubjectKind.HALL, path, hall.name, hall.id, (SubjectKind.SITE, site.id))
            self._add_limits(SubjectKind.HALL, path, budget=hall.budget_watts)
        for path, hall_path, row in layout.rows(self.facility):
            self._add_place(SubjectKind.ROW, path, row.name, row.id, (SubjectKind.HALL, hall_path))
            self._add_limits(SubjectKind.ROW, path, budget=row.budget_watts)
        for rack in self.racks:
            self._add_rack(rack)
        self._add_power()
        for feed, on in self.hanging:
            for rack_path in on:
                self._add(
                    "feed_racks", feed.id, (self._feed(feed.id), self._id(SubjectKind.RACK, rack_path), feed.side)
                )
        for meter in self.meters:
            self._add_meter(meter)
        for site_path in self.rows:
            self._add_names(site_path)
            self.rows[site_path]["retired"].extend(self._retired(site_path))
        return {site: {name: _frame(name, rows[name]) for name in FRAMES} for site, rows in self.rows.items()}

    def _id(self, kind: SubjectKind, path: str) -> int:
        return self.ids[kind].of(path)

    def _feed(self, path: str) -> int:
        return self._id(SubjectKind.FEED, path)

    def _add(self, frame: str, path: str, row: Row) -> None:
        self.rows[site_of(path)][frame].append(row)

    def _add_site(self, site: Site) -> None:
        self._add_place(SubjectKind.SITE, site.id, site.name, site.id, None)
        self._add_limits(SubjectKind.SITE, site.id, budget=site.budget_watts, contract=site.contract_watts)
        self._add(
            "site",
            site.id,
            (
                self._id(SubjectKind.SITE, site.id),
                site.id,
                site.time_zone,
                site.budget_watts,
                site.contract_watts,
                site.contract_interval_secs,
                site.grid_carbon_grams_per_kwh,
            ),
        )

    def _add_place(
        self, kind: SubjectKind, path: str, name: Name | None, otherwise: str, parent: tuple[SubjectKind, str] | None
    ) -> None:
        parent_kind, parent_id = (parent[0], self._id(*parent)) if parent else (None, None)
        name = name or Name(en=otherwise)
        site = self._id(SubjectKind.SITE, site_of(path))
        self._add("structure", path, (kind, self._id(kind, path), path, parent_kind, parent_id, site, name.en, name.ar))

    def _add_limits(self, kind: SubjectKind, path: str, **limits: float | None) -> None:
        for name, watts in limits.items():
            if watts is not None:
                self._add("limits", path, (kind, self._id(kind, path), name, watts))

    def _add_rack(self, rack: PlacedRack) -> None:
        self._add_place(
            SubjectKind.RACK, rack.path, rack.name, rack.path.rpartition("/")[2], (SubjectKind.ROW, rack.row)
        )
        self._add_limits(SubjectKind.RACK, rack.path, nameplate=rack.nameplate_watts, budget=rack.budget_watts)
        rack_id = self._id(SubjectKind.RACK, rack.path)
        places = (
            self._id(SubjectKind.ROW, rack.row),
            self._id(SubjectKind.HALL, parent_of(rack.row)),
            self._id(SubjectKind.SITE, site_of(rack.path)),
        )
        gpus = rack.nodes * rack.gpus_per_node
        watts = (rack.nameplate_watts, rack.budget_watts, rack.rest_watts)
        self._add("racks", rack.path, (rack_id, rack.path, *places, rack.type, rack.nodes, gpus, *watts))
        vendor = self.vendors.of(rack.vendor) if rack.vendor else None
        model = self.models.of(f"{rack.vendor}\t{rack.model}") if rack.model else None
        for first_node, first_number, count in _runs(self._id(SubjectKind.NODE, path) for path in rack.node_paths):
            node_range = (rack_id, first_node, first_number, count, rack.gpus_per_node)
            self._add("node_ranges", rack.path, (*node_range, rack.gpu_nameplate_watts, vendor, model))

    def _add_power(self) -> None:
        for utility in self.facility.utilities:
            self._add_device(SubjectKind.UTILITY, utility.id, None)
            self._add_limits(SubjectKind.UTILITY, utility.id, rated=utility.rated_watts)
        for group in self.facility.ups_groups:
            self._add_device(SubjectKind.UPS_GROUP, group.id, group.fed_by)
            self._add_limits(SubjectKind.UPS_GROUP, group.id, rated=layout.ups_watts(group))
        for panel in self.facility.panels:
            rated = layout.rated_watts(panel)
            self._add_device(SubjectKind.PANEL, panel.id, panel.fed_by)
            self._add_limits(SubjectKind.PANEL, panel.id, rated=rated, usable=rated * panel.usable_fraction)
        for feed in self.facility.feeds:
            self._add_device(SubjectKind.FEED, feed.id, feed.fed_by)
            breaker = layout.feed_breaker(self.facility, feed)
            if breaker is None:
                continue
            rated = layout.rated_watts(breaker)
            self._add_limits(SubjectKind.FEED, feed.id, rated=rated, usable=rated * breaker.usable_fraction)
            twin = self._feed(feed.twin) if feed.twin else None
            keys = ("rated_amps", "voltage_volts", "phases", "power_factor", "usable_fraction", "curve")
            values = (getattr(breaker, key) for key in keys)
            self._add("feeds", feed.id, (self._feed(feed.id), feed.id, twin, feed.side, *values))

    def _add_device(self, kind: SubjectKind, path: str, fed_by: str | None) -> None:
        parent_kind = self.kinds[fed_by] if fed_by else None
        parent = self._id(parent_kind, fed_by) if parent_kind and fed_by else None
        site = self._id(SubjectKind.SITE, site_of(path))
        self._add("power", path, (kind, self._id(kind, path), path, parent_kind, parent, site))

    def _add_meter(self, meter: PlacedMeter) -> None:
        kind = self.kinds[meter.measures]
        subject = (meter.level, kind, self._id(kind, meter.measures))
        feed = self._feed(meter.feed) if meter.feed else None
        meter_id = self._id(SubjectKind.METER, meter.path)
        self._add("meters", meter.path, (meter_id, meter.path, *subject, meter.interval_seconds, meter.side, feed))

    def _add_names(self, site: str) -> None:
        for name, vendor in self.vendors.known.items():
            self._add("vendors", site, (vendor, name))
        for name, model in self.models.known.items():
            vendor_name, _, model_name = name.partition("\t")
            self._add("models", site, (model, self.vendors.of(vendor_name), model_name))

    def _retired(self, site: str) -> Iterator[Row]:
        for kind, ids in self.ids.items():
            for path, subject in ids.known.items():
                if path not in ids.in_force and site_of(path) == site:
                    yield kind, subject, path


def _runs(node_ids: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (first id, first number, count) of every run of consecutive ids; numbers count from 1."""
    numbered_ids = enumerate(node_ids, start=1)
    for _, run in groupby(numbered_ids, key=lambda pair: pair[1] - pair[0]):
        pairs = list(run)
        yield pairs[0][1], pairs[0][0], len(pairs)


def _frame(name: str, rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=FRAMES[name], orient="row", strict=True)
