"""The numbering: give every path of a facility its id and write the frames of each site."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import polars as pl

from schemas import layout
from schemas.facility import Branch, Facility, Name, Site
from schemas.layout import PlacedMeter, PlacedRack
from schemas.paths import parent_of, site_of
from schemas.site_frames import FRAMES
from schemas.subject import SubjectKind

Row = dict[str, Any]


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
        self._add_places()
        for rack in self.racks:
            self._add_rack(rack)
        self._add_power()
        self._add_feeds()
        for meter in self.meters:
            self._add_meter(meter)
        for site in self.rows:
            self._add_names(site)
            self._add_retired(site)
        return {site: {name: _frame(name, rows[name]) for name in FRAMES} for site, rows in self.rows.items()}

    def _add(self, frame: str, within: str, /, **columns: Any) -> None:
        """Add one row to a frame of the site that the path `within` lies in."""
        self.rows[site_of(within)][frame].append(columns)

    def _id(self, kind: SubjectKind, path: str) -> int:
        return self.ids[kind].of(path)

    def _site(self, path: str) -> int:
        return self._id(SubjectKind.SITE, site_of(path))

    def _add_places(self) -> None:
        for site in self.facility.sites:
            self._add_site(site)
        for path, site, hall in layout.halls(self.facility):
            self._add_place(SubjectKind.HALL, path, hall.name, (SubjectKind.SITE, site.id))
            self._add_limits(SubjectKind.HALL, path, budget=hall.budget_watts)
        for path, hall_path, row in layout.rows(self.facility):
            self._add_place(SubjectKind.ROW, path, row.name, (SubjectKind.HALL, hall_path))
            self._add_limits(SubjectKind.ROW, path, budget=row.budget_watts)

    def _add_site(self, site: Site) -> None:
        self._add_place(SubjectKind.SITE, site.id, site.name, None)
        self._add_limits(SubjectKind.SITE, site.id, budget=site.budget_watts, contract=site.contract_watts)
        self._add(
            "site",
            site.id,
            site=self._site(site.id),
            path=site.id,
            time_zone=site.time_zone,
            budget_watts=site.budget_watts,
            contract_watts=site.contract_watts,
            contract_interval_secs=site.contract_interval_secs,
            grid_carbon_grams_per_kwh=site.grid_carbon_grams_per_kwh,
        )

    def _add_place(
        self, kind: SubjectKind, path: str, name: Name | None, parent: tuple[SubjectKind, str] | None
    ) -> None:
        name = name or Name(en=path.rpartition("/")[2])
        self._add(
            "structure",
            path,
            kind=kind,
            id=self._id(kind, path),
            path=path,
            parent_kind=parent[0] if parent else None,
            parent=self._id(*parent) if parent else None,
            site=self._site(path),
            name_en=name.en,
            name_ar=name.ar,
        )

    def _add_limits(self, kind: SubjectKind, path: str, **limits: float | None) -> None:
        for limit, watts in limits.items():
            if watts is not None:
                self._add("limits", path, kind=kind, id=self._id(kind, path), limit=limit, watts=watts)

    def _add_rack(self, rack: PlacedRack) -> None:
        self._add_place(SubjectKind.RACK, rack.path, rack.name, (SubjectKind.ROW, rack.row))
        self._add_limits(SubjectKind.RACK, rack.path, nameplate=rack.nameplate_watts, budget=rack.budget_watts)
        self._add(
            "racks",
            rack.path,
            rack=self._id(SubjectKind.RACK, rack.path),
            path=rack.path,
            row=self._id(SubjectKind.ROW, rack.row),
            hall=self._id(SubjectKind.HALL, parent_of(rack.row)),
            site=self._site(rack.path),
            type=rack.type,
            nodes=rack.nodes,
            gpus=rack.nodes * rack.gpus_per_node,
            nameplate_watts=rack.nameplate_watts,
            budget_watts=rack.budget_watts,
            rest_watts=rack.rest_watts,
        )
        self._add_nodes(rack)

    def _add_nodes(self, rack: PlacedRack) -> None:
        vendor = self.vendors.of(rack.vendor) if rack.vendor else None
        model = self.models.of(f"{rack.vendor}\t{rack.model}") if rack.vendor and rack.model else None
        for first_node, first_number, count in _runs(self._id(SubjectKind.NODE, path) for path in rack.node_paths):
            self._add(
                "node_ranges",
                rack.path,
                rack=self._id(SubjectKind.RACK, rack.path),
                first_node=first_node,
                first_number=first_number,
                count=count,
                gpus=rack.gpus_per_node,
                nameplate_watts=rack.gpu_nameplate_watts,
                vendor=vendor,
                model=model,
            )

    def _add_power(self) -> None:
        for utility in self.facility.utilities:
            self._add_device(SubjectKind.UTILITY, utility.id, None)
            self._add_limits(SubjectKind.UTILITY, utility.id, rated=utility.rated_watts)
        for group in self.facility.ups_groups:
            self._add_device(SubjectKind.UPS_GROUP, group.id, group.fed_by)
            self._add_limits(SubjectKind.UPS_GROUP, group.id, rated=layout.ups_watts(group))
        for panel in self.facility.panels:
            self._add_device(SubjectKind.PANEL, panel.id, panel.fed_by)
            self._add_breaker_limits(SubjectKind.PANEL, panel.id, panel)

    def _add_device(self, kind: SubjectKind, path: str, fed_by: str | None) -> None:
        parent_kind = self.kinds[fed_by] if fed_by else None
        self._add(
            "power",
            path,
            kind=kind,
            id=self._id(kind, path),
            path=path,
            parent_kind=parent_kind,
            parent=self._id(parent_kind, fed_by) if parent_kind and fed_by else None,
            site=self._site(path),
        )

    def _add_breaker_limits(self, kind: SubjectKind, path: str, breaker: Branch) -> None:
        rated = layout.rated_watts(breaker)
        self._add_limits(kind, path, rated=rated, usable=rated * breaker.usable_fraction)

    def _add_feeds(self) -> None:
        for feed, racks in self.hanging:
            breaker = layout.feed_breaker(self.facility, feed)
            if breaker is None:  # references.errors refuses this before it comes here
                continue
            self._add_device(SubjectKind.FEED, feed.id, feed.fed_by)
            self._add_breaker_limits(SubjectKind.FEED, feed.id, breaker)
            feed_id = self._id(SubjectKind.FEED, feed.id)
            self._add(
                "feeds",
                feed.id,
                feed=feed_id,
                path=feed.id,
                twin=self._id(SubjectKind.FEED, feed.twin) if feed.twin else None,
                side=feed.side,
                **breaker.model_dump(),
            )
            for rack in racks:
                self._add("feed_racks", feed.id, feed=feed_id, rack=self._id(SubjectKind.RACK, rack), side=feed.side)

    def _add_meter(self, meter: PlacedMeter) -> None:
        kind = self.kinds[meter.measures]
        self._add(
            "meters",
            meter.path,
            meter=self._id(SubjectKind.METER, meter.path),
            path=meter.path,
            level=meter.level,
            subject_kind=kind,
            subject=self._id(kind, meter.measures),
            interval_seconds=meter.interval_seconds,
            side=meter.side,
            feed=self._id(SubjectKind.FEED, meter.feed) if meter.feed else None,
        )

    def _add_names(self, site: str) -> None:
        """Add every vendor and model ever named: their ids are for ever too."""
        for name, vendor in self.vendors.known.items():
            self._add("vendors", site, vendor=vendor, name=name)
        for key, model in self.models.known.items():
            vendor_name, _, name = key.partition("\t")
            self._add("models", site, model=model, vendor=self.vendors.of(vendor_name), name=name)

    def _add_retired(self, site: str) -> None:
        for kind, ids in self.ids.items():
            for path, subject in ids.known.items():
                if path not in ids.in_force and site_of(path) == site:
                    self._add("retired", site, kind=kind, id=subject, path=path)


def _runs(node_ids: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (first id, first number, count) of every run of consecutive ids; numbers count from 1."""
    numbered_ids = enumerate(node_ids, start=1)
    for _, run in groupby(numbered_ids, key=lambda pair: pair[1] - pair[0]):
        pairs = list(run)
        yield pairs[0][1], pairs[0][0], len(pairs)


def _frame(name: str, rows: list[Row]) -> pl.DataFrame:
    columns = {column: [row[column] for row in rows] for column in FRAMES[name]}
    return pl.DataFrame(columns, schema=FRAMES[name], strict=True)
