"""What the meters show: racks over their lines, then feeds, panels, UPS groups and utilities.

A rack draws its boards and a rest (processors, fans, switches, conversion loss). It takes that power
over its lines, A and B unevenly. A feed carries its lines and its own loss, a panel its feeds, and
so on up to the utility, which carries the site's cooling as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.subject import SubjectKind
from sources.simulated.layout import Layout, limits_of, sum_by

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOSS = {SubjectKind.FEED: 0.006, SubjectKind.PANEL: 0.003, SubjectKind.UPS_GROUP: 0.035, SubjectKind.UTILITY: 0.011}
"""What each stage loses, as a share of what it delivers."""
REST_AT_IDLE = 0.4
"""Share of a rack's largest rest that it draws with its boards at rest."""
POWER_FACTOR = 0.98


@dataclass(frozen=True)
class Flow:
    """Hold the watts of one second, in the order of the layout's arrays."""

    racks: Floats
    lines: Floats
    tree: Floats
    nodes: Floats
    sites: Floats
    """What each site takes from its utilities; without one, IT and cooling."""
    cooling: Floats
    """One element a site."""


@dataclass(frozen=True)
class Network:
    """Hold what does not change of the power tree: rests, shares, who feeds whom."""

    layout: Layout
    rest_watts: Floats
    """Largest rest of each rack."""
    line_share: Floats
    """Share of its rack's power that each line carries; the shares of a rack add up to 1."""

    def rack_watts(self, gpu_watts: Floats, extra: Floats) -> Floats:
        """Return each rack's power from the sum of its boards, with `extra` watts of rest."""
        nameplate = np.maximum(self.layout.racks.nameplate_watts, 1.0)
        busy = np.where(self.layout.racks.gpu_count > 0, gpu_watts / nameplate, 0.6)
        return gpu_watts + self.rest_watts * (REST_AT_IDLE + (1 - REST_AT_IDLE) * busy) + extra

    def gpu_allowance(self, rack_watts: Floats) -> Floats:
        """Return what a rack's boards may draw together if the rack is to stay within `rack_watts`."""
        nameplate = np.maximum(self.layout.racks.nameplate_watts, 1.0)
        slope = 1.0 + self.rest_watts * (1 - REST_AT_IDLE) / nameplate
        return np.maximum((rack_watts - self.rest_watts * REST_AT_IDLE) / slope, 0.0)

    def flow(self, racks: Floats, nodes: Floats, cooling_share: Floats, line_share: Floats) -> Flow:
        """Return what every line and every element of the tree carries.

        `cooling_share` is each site's cooling per watt of IT.
        """
        layout = self.layout
        lines = racks[layout.lines.rack] * line_share
        cooling = self._site_sum(racks) * cooling_share
        tree = self._carried(lines, cooling)
        sites = self._sites(tree, self._site_sum(racks) + cooling)
        return Flow(racks=racks, lines=lines, tree=tree, nodes=nodes, sites=sites, cooling=cooling)

    def _sites(self, tree: Floats, unmetered: Floats) -> Floats:
        utilities = np.flatnonzero(self.layout.tree.kind == SubjectKind.UTILITY)
        site = np.searchsorted(self.layout.sites, self.layout.tree.site[utilities])
        supplied = sum_by(site, tree[utilities], len(unmetered))
        return np.where(np.bincount(site, minlength=len(unmetered)) > 0, supplied, unmetered)

    def _site_sum(self, racks: Floats) -> Floats:
        sites = np.searchsorted(self.layout.sites, self.layout.racks.site)
        return sum_by(sites, racks, len(self.layout.sites))

    def _carried(
        self,
        lines: Floats,
        cooling: Floats,
    ) -> Floats:
        tree, on = self.layout.tree, self.layout.lines.feed
        carried = sum_by(on[on >= 0], lines[on >= 0], len(tree.id))
        for kind, loss in LOSS.items():
            here = np.flatnonzero(tree.kind == kind)
            if kind == SubjectKind.UTILITY and len(here):
                carried[here] += self._utility_extra(here, lines[on < 0], cooling)
            carried[here] *= 1.0 + loss
            fed = here[tree.parent[here] >= 0]
            carried += sum_by(tree.parent[fed], carried[fed], len(carried))
        return carried

    def _utility_extra(self, utilities: Ints, unfed: Floats, cooling: Floats) -> Floats:
        """Return what each utility carries besides its UPS groups: cooling and racks on no feed, shared evenly."""
        layout = self.layout
        sites = np.searchsorted(layout.sites, layout.tree.site[utilities])
        rack_sites = np.searchsorted(layout.sites, layout.racks.site[layout.lines.rack[layout.lines.feed < 0]])
        load = cooling + sum_by(rack_sites, unfed, len(cooling))
        return np.asarray((load / np.maximum(np.bincount(sites, minlength=len(cooling)), 1))[sites])


def network_of(layout: Layout, rng: np.random.Generator) -> Network:
    """Return the network of a layout, with each rack's rest and its uneven shares drawn from `rng`."""
    nameplate, limit = layout.racks.nameplate_watts, layout.racks.limit_watts
    room = np.clip(limit - nameplate, 0.16 * nameplate, 0.62 * nameplate)
    room = np.where(np.isnan(layout.racks.rest_watts), room, layout.racks.rest_watts)
    rest = np.where(nameplate > 0, room * rng.uniform(0.88, 0.98, len(room)), 0.7 * limit)
    return Network(layout=layout, rest_watts=rest, line_share=_shares(layout, rng))


def _shares(layout: Layout, rng: np.random.Generator) -> Floats:
    weight = np.exp(rng.normal(0.0, 0.16, len(layout.lines.rack)))
    total = sum_by(layout.lines.rack, weight, len(layout.racks.id))
    return np.asarray(weight / total[layout.lines.rack])


def allowances(network: Network, headroom: float = 0.88) -> Floats:
    """Return the watts that each rack may plan with, so that nothing above it is over `headroom` of its limit.

    Starts from each rack's own limit and shrinks all racks below a row, hall, site, feed, panel,
    UPS group or utility that could not carry them together.
    """
    layout, racks = network.layout, network.layout.racks
    allowed = headroom * racks.limit_watts
    for ids, kind in ((racks.row, SubjectKind.ROW), (racks.hall, SubjectKind.HALL), (racks.site, SubjectKind.SITE)):
        allowed *= _shrink_places(layout, kind, ids, allowed, headroom)
    return _shrink_tree(network, allowed, headroom)


def _shrink_places(layout: Layout, kind: SubjectKind, ids: Ints, allowed: Floats, headroom: float) -> Floats:
    subjects, of_rack = np.unique(ids, return_inverse=True)
    limits = np.minimum(
        limits_of(layout.registry, kind, "budget", subjects), limits_of(layout.registry, kind, "contract", subjects)
    )
    total = np.maximum(sum_by(of_rack, allowed, len(subjects)), 1.0)
    return np.asarray(np.minimum(1.0, headroom * limits / total)[of_rack])


def _shrink_tree(network: Network, allowed: Floats, headroom: float) -> Floats:
    layout, lines, tree = network.layout, network.layout.lines, network.layout.tree
    full = network.flow(allowed, np.zeros(0), np.full(len(layout.sites), 0.25), network.line_share).tree
    factor = np.minimum(1.0, headroom * tree.limit_watts / np.maximum(full, 1.0))
    for index in range(len(tree.id) - 1, -1, -1):
        if tree.parent[index] >= 0:
            factor[index] = min(factor[index], factor[tree.parent[index]])
    rack_factor = np.ones(len(layout.racks.id))
    fed = lines.feed >= 0
    np.minimum.at(rack_factor, lines.rack[fed], factor[lines.feed[fed]])
    return np.asarray(allowed * rack_factor)
