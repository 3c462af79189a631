"""The meters above: which registered meters carry what a source measures, and what else they carry.

The nearest meter above a source in the power tree bounds what the source may draw while it is silent
(schemas.md 6). The registry is taken at its word: what it does not name draws nothing. What stands behind
a UPS group is not bounded by meters before it: its batteries feed it, too. Static index arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from schemas.metering import MEASURED
from schemas.subject import MeterLevel, SubjectKind
from streams.condition import Bools, Ints
from streams.lists import Lists

if TYPE_CHECKING:
    from schemas.registry import Registry

Device = tuple[int, int]
"""Kind and id of a feed, panel, UPS group, utility or site."""


@dataclass(frozen=True)
class Above:
    """Hold groups of sources that share the nearest meters above them.

    `group`: per source its group, −1 without one · `meters`: per group the sources whose sum comes in ·
    `parts`: per group the sources of disjoint loads that it carries · `is_whole`: per group, whether nothing
    else draws from it but its parts and loads of `unmetered` mW by nameplate, over wires alone.
    """

    group: Ints
    meters: Lists
    parts: Lists
    is_whole: Bools
    unmetered: Ints


class _Group(NamedTuple):
    """List what comes in and what it carries, by source; `unmetered` mW beside these, None where more may be."""

    meters: list[int]
    parts: list[int]
    bounded: list[int]
    unmetered: int | None = None


def above(registry: Registry, sources: pl.DataFrame, power: pl.DataFrame) -> Above:
    """Return the groups of `sources` (streams.members), `power` being (subject_kind, subject, source, basis)."""
    tree = _Tree(registry, sources, power)
    groups = [*tree.of_devices(), *tree.of_racks_on_several(), *tree.of_nodes()]
    group = np.full(len(sources), -1)
    for number, each in enumerate(groups):
        group[each.bounded] = number
    return Above(
        group=group,
        meters=_lists(each.meters for each in groups),
        parts=_lists(each.parts for each in groups),
        is_whole=np.array([each.unmetered is not None for each in groups], dtype=bool),
        unmetered=np.array([each.unmetered or 0 for each in groups], dtype=np.int64),
    )


def _lists(members: Iterable[list[int]]) -> Lists:
    pairs = [(number, source) for number, its in enumerate(members) for source in its]
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Lists.grouped(columns[:, 0], columns[:, 1])


class _Tree:
    """Walk the power tree of all sites; sources of a rack are tied to a feed where their meter names one."""

    def __init__(self, registry: Registry, sources: pl.DataFrame, power: pl.DataFrame) -> None:
        self.parent = _parents(registry)
        self.sites = dict(registry.racks.select("rack", "site").iter_rows())
        self.site_of = {(kind, each): site for kind, each, site in registry.power.select("kind", "id", "site").rows()}
        self.behind_ups = {site for (kind, _), site in self.site_of.items() if kind == SubjectKind.UPS_GROUP}
        self.own = _grouped(power.filter(pl.col("basis") == MEASURED).select("subject_kind", "subject", "source"))
        self.of_rack = _grouped(power.filter(pl.col("subject_kind") == SubjectKind.RACK).select("subject", "source"))
        meters = sources.filter(pl.col("kind") == SubjectKind.METER).select("source", meter="id")
        known = registry.meters.join(meters, on="meter")
        self.metered = set(known["source"])
        self.feed_of = dict(known.filter(pl.col("feed").is_not_null()).select("source", "feed").iter_rows())
        self.generators = _grouped(known.filter(level=MeterLevel.GENERATOR).select("subject", "source"))
        nodes = registry.nodes.select("rack", subject="node")
        of_nodes = known.filter(level=MeterLevel.NODE).join(nodes, on="subject")
        self.nodes_of_rack = _grouped(of_nodes.select("rack", "source"))
        self.feeds_of_rack = _grouped(registry.feed_racks.select("rack", "feed"))
        self.racks_of_feed = _grouped(registry.feed_racks.select("feed", "rack"))
        self.nameplates = dict(registry.racks.select("rack", "nameplate_watts").iter_rows())

    def of_devices(self) -> Iterator[_Group]:
        """Yield the group of each metered feed, panel, UPS group and utility: what has no other meter between."""
        parts: dict[Device, list[int]] = {}
        for source, device in self._placed():
            if (nearest := self._nearest(device)) is not None:
                parts.setdefault(nearest, []).append(source)
        for device, its in sorted(parts.items()):
            yield _Group(self._incoming(device), its, its, self._unmetered(device))

    def of_racks_on_several(self) -> Iterator[_Group]:
        """Yield the groups of racks without inputs that hang on several devices, or in a site without a tree.

        Their load is split in an unknown way, so that only whole racks are known to be loads beside it.
        """
        on: dict[tuple[Device, ...], list[int]] = {}
        for rack in self._untied():
            nearest = self._nearest_of_rack(rack)
            if len(nearest) > 1 or nearest == {(SubjectKind.SITE, self.sites[rack])}:
                on.setdefault(tuple(sorted(self._topmost(nearest))), []).append(rack)
        for tops, racks in sorted(on.items()):
            meters = [source for device in tops for source in self._incoming(device)]
            bounded = [source for rack in racks for source in self.of_rack[rack]]
            yield _Group(meters, self._inside(set(tops)), bounded)

    def of_nodes(self) -> Iterator[_Group]:
        """Yield the meters of the nodes of each rack that has a meter of its own."""
        for rack, nodes in sorted(self.nodes_of_rack.items()):
            meters = self.of_rack.get(rack, [])
            if meters and set(meters) <= self.metered - set(nodes):
                yield _Group(meters, nodes, nodes)

    def _placed(self) -> Iterator[tuple[int, Device]]:
        """Yield (source, the device that feeds it) of all whose whole load hangs below one metered device."""
        for sources in self.of_rack.values():
            for source in sources:
                if source in self.feed_of:
                    yield source, (SubjectKind.FEED, self.feed_of[source])
        for rack in self._untied():
            nearest = self._nearest_of_rack(rack)
            if len(nearest) == 1 and nearest != {(SubjectKind.SITE, self.sites[rack])}:
                yield from ((source, next(iter(nearest))) for source in self.of_rack[rack])
        for device, sources in self.own.items():
            if (parent := self.parent.get(device)) is not None:
                yield from ((source, parent) for source in sources)

    def _untied(self) -> Iterator[int]:
        return (rack for rack, its in self.of_rack.items() if not any(source in self.feed_of for source in its))

    def _chain(self, device: Device | None) -> Iterator[Device]:
        """Yield a device and those that feed it, up to a UPS group or the utility."""
        while device is not None:
            yield device
            device = self.parent.get(device)

    def _nearest(self, device: Device) -> Device | None:
        return next((each for each in self._chain(device) if each in self.own), None)

    def _nearest_of_rack(self, rack: int) -> set[Device]:
        """Return the metered devices that together carry a rack; none where one of its feeds has no meter above."""
        site = self.sites[rack]
        if not (feeds := self.feeds_of_rack.get(rack)):
            at_site = (SubjectKind.SITE, site)
            return {at_site} if at_site in self.own and site not in self.behind_ups else set()
        nearest = {self._nearest((SubjectKind.FEED, feed)) for feed in feeds}
        return {device for device in nearest if device is not None} if None not in nearest else set()

    def _topmost(self, devices: set[Device]) -> set[Device]:
        return {device for device in devices if not devices & set(list(self._chain(device))[1:])}

    def _inside(self, tops: set[Device]) -> list[int]:
        """Return the sources of racks that hang on these devices and on no others."""
        inside = []
        for rack, sources in self.of_rack.items():
            if (SubjectKind.SITE, self.sites[rack]) in tops:
                inside += sources
                continue
            tied = [source for source in sources if source in self.feed_of]
            feeds = [self.feed_of[source] for source in tied] or self.feeds_of_rack.get(rack, [])
            is_in = [bool(tops & set(self._chain((SubjectKind.FEED, feed)))) for feed in feeds]
            inside += [source for source, its in zip(tied, is_in, strict=False) if its]
            inside += sources if not tied and is_in and all(is_in) else []
        return inside

    def _incoming(self, device: Device) -> list[int]:
        """Return the meters of a device; those of a site's generators count where its utility's do."""
        kind, number = device
        site = number if kind == SubjectKind.SITE else self.site_of.get(device, -1)
        from_outside = kind in (SubjectKind.SITE, SubjectKind.UTILITY)
        return self.own[device] + (self.generators.get(site, []) if from_outside else [])

    def _unmetered(self, device: Device) -> int | None:
        """Return the mW that loads below a device may draw without a meter, None where more may hang on it."""
        kind, number = device
        if kind == SubjectKind.FEED:
            return self._unmetered_on_feed(number)
        if kind != SubjectKind.PANEL:
            return None  # a UPS has losses, and a utility carries cooling and what nobody registered
        feeds = [each for each, parent in self.parent.items() if parent == device]
        found = [0 if feed in self.own else self._unmetered_on_feed(feed[1]) for feed in feeds]
        return sum(each for each in found if each is not None) if found and None not in found else None

    def _unmetered_on_feed(self, feed: int) -> int | None:
        racks = self.racks_of_feed.get(feed, [])
        bare = [rack for rack in racks if not self._is_metered_on(rack, feed)]
        watts = [self.nameplates.get(rack) for rack in bare]
        known = [each for each in watts if each is not None]
        return round(sum(known) * 1000) if racks and len(known) == len(watts) else None

    def _is_metered_on(self, rack: int, feed: int) -> bool:
        sources = self.of_rack.get(rack, [])
        if any(self.feed_of.get(source) == feed for source in sources):
            return True
        is_untied = not any(source in self.feed_of for source in sources)
        return bool(sources) and is_untied and len(self._nearest_of_rack(rack)) == 1


def _parents(registry: Registry) -> dict[Device, Device | None]:
    """Return what feeds each device as far as meters above bound it: a UPS group has batteries of its own."""
    columns = registry.power.select("kind", "id", "parent_kind", "parent", "site").iter_rows()
    parents: dict[Device, Device | None] = {}
    for kind, device, above_kind, above_it, site in columns:
        fed_by = (above_kind, above_it) if above_it is not None else (SubjectKind.SITE, site)
        parents[kind, device] = None if kind == SubjectKind.UPS_GROUP else fed_by
    return parents


def _grouped(frame: pl.DataFrame) -> dict[Any, list[int]]:
    """Return the last column's values by the column or the pair of columns before it."""
    grouped: dict[Any, list[int]] = {}
    for *key, member in frame.iter_rows():
        grouped.setdefault(key[0] if len(key) == 1 else tuple(key), []).append(member)
    return grouped
