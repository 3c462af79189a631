"""What an overload does to the campus: it drives whole racks to a power, and may take a feed's twin away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.subject import SubjectKind
from sources.simulated.gpus import Boards
from sources.simulated.incidents import Incident
from sources.simulated.tree import LOSS, Network

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STUCK_CAP = 1.1
"""The cap that boards fall back to when a driver restart has put it to their maximum, as a share of nameplate."""


@dataclass(frozen=True)
class Overload:
    """Hold one incident with the power that each of its racks, and of their boards, reaches at its peak."""

    incident: Incident
    racks: Ints
    gpus: NDArray[np.bool_]
    gpu_share: Floats
    """What each board of the racks draws at the peak, as a share of its nameplate."""
    extra_watts: Floats
    """What fans and pumps of each rack add where its boards alone do not reach the peak."""

    def drive(self, boards: Boards, caps: Floats, second: int) -> None:
        """Move the power of the racks' boards towards the peak, and put their caps out of the way meanwhile."""
        weight = np.float32(self.incident.weight(second))
        here = self.gpus
        if weight > 0:
            reached = self.gpu_share * boards.nameplate[here] * (1.0 + (boards.gain[here] - 1.0) / 4)
            boards.power[here] += weight * (reached.astype(np.float32) - boards.power[here])
            boards.demand[here] = boards.power[here]
            boards.cap[here] = np.ceil(STUCK_CAP * boards.nameplate[here])
        else:
            boards.cap[here] = caps[here]

    def add_rest(self, extra: Floats, second: int) -> None:
        """Add what the racks' fans and pumps draw on top."""
        extra[self.racks] += self.incident.weight(second) * self.extra_watts

    def move_lines(self, network: Network, share: Floats, second: int) -> Floats:
        """Return the lines' shares with the twins' load moved to the feed that is to be overloaded."""
        if self.incident.subject_kind != SubjectKind.FEED:
            return share
        lines, weight = network.layout.lines, self.incident.weight(second)
        on_feed = lines.feed == self.incident.index
        of_rack = np.isin(lines.rack, self.racks)
        moved = np.where(on_feed, share + weight * (1.0 - share), share * (1.0 - weight))
        return np.where(of_rack, moved, share)


def overload_of(incident: Incident, network: Network) -> Overload:
    """Return how an incident's racks reach its peak together, each at the same share of its own limit."""
    layout, racks = network.layout, np.array(incident.racks, dtype=np.int64)
    peak = incident.peak_watts or 0.0
    if incident.subject_kind == SubjectKind.FEED:
        peak /= 1.0 + LOSS[SubjectKind.FEED] * _is_metered(incident, network)
    limit = layout.racks.limit_watts
    wanted = np.zeros(len(limit))
    wanted[racks] = limit[racks] * peak / limit[racks].sum()
    share = np.minimum(network.gpu_allowance(wanted) / np.maximum(layout.racks.nameplate_watts, 1.0), STUCK_CAP)
    missing = wanted - network.rack_watts(share * layout.racks.nameplate_watts, np.zeros(len(limit)))
    of_gpu = layout.racks.of_gpu()
    gpus = np.isin(of_gpu, racks)
    return Overload(incident, racks, gpus, share[of_gpu[gpus]], np.maximum(missing[racks], 0.0))


def _is_metered(incident: Incident, network: Network) -> bool:
    """Tell whether the feed has a meter of its own, which shows its loss too; else it is the sum of its lines."""
    feeds = network.layout.registry.meters.filter(subject_kind=int(SubjectKind.FEED))
    return int(network.layout.tree.id[incident.index]) in set(feeds["subject"])
