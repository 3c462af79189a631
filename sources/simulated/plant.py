"""The plant: boards under their caps and the network above them, moved on second by second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sources.simulated.gpus import boards_of
from sources.simulated.incidents import Incident
from sources.simulated.layout import Layout, sum_by
from sources.simulated.overload import overload_of
from sources.simulated.tree import Flow, allowances, network_of

F32 = NDArray[np.float32]
Floats = NDArray[np.float64]

_LEAST_CAP, _CAP_STEP_WATTS = 0.2, 5.0
_WOBBLE = np.float32(0.006)
"""Standard deviation of what a board's control loop adds to its load."""
_SHARE_DRIFT, _SHARE_CALM = 0.004, 0.96
_COOLING, _COOLING_SWING, _COOLEST_HOUR = 0.16, 0.05, 3.0
"""Cooling as a share of IT: its mean, its swing over the day, and the hour with the least."""
_OF_NODES = 0.85
"""Share of a rack's rest that its nodes draw; switches, fans and conversion take the others."""


class Plant:
    """Hold boards and network; `step` moves on by a second, `flow` says what then flows."""

    def __init__(self, layout: Layout, incidents: Sequence[Incident], rng: np.random.Generator) -> None:
        self._layout, self._rng = layout, rng
        self.network = network_of(layout, rng)
        self.caps = self._agreed_caps()
        self.boards = boards_of(layout, self.caps, _is_amd(layout), rng)
        self._overloads = [overload_of(incident, self.network) for incident in incidents if incident.racks]
        self._rack_of_gpu, self._node_of_gpu = layout.racks.of_gpu(), layout.nodes.of_gpu()
        self._share_drift = np.zeros(len(layout.lines.rack))

    def step(self, second: int, load: F32) -> None:
        """Let all boards work at `load` for the second that ends at `second`."""
        self.boards.work(load, _WOBBLE * self._rng.standard_normal(len(load), dtype=np.float32))
        for overload in self._overloads:
            overload.drive(self.boards, self.caps, second)
        self.boards.settle()
        self._share_drift *= _SHARE_CALM
        self._share_drift += _SHARE_DRIFT * self._rng.standard_normal(len(self._share_drift))

    def flow(self, second: int, hours: Floats) -> Flow:
        """Return what flows to each node, rack, line and part of the tree; `hours` = local hour of each site."""
        gpu = sum_by(self._rack_of_gpu, self.boards.power, len(self._layout.racks.id))
        extra = np.zeros(len(gpu))
        for overload in self._overloads:
            overload.add_rest(extra, second)
        racks = self.network.rack_watts(gpu, extra)
        cooling = _COOLING - _COOLING_SWING * np.cos((hours - _COOLEST_HOUR) / 24.0 * 2.0 * np.pi)
        return self.network.flow(racks, self._node_watts(racks - gpu), cooling, self._line_share(second))

    def _line_share(self, second: int) -> Floats:
        """Return each line's share of its rack: what it was built with, straying a little, or moved by an incident."""
        rack = self._layout.lines.rack
        share = self.network.line_share * np.exp(self._share_drift)
        share /= sum_by(rack, share, len(self._layout.racks.id))[rack]
        for overload in self._overloads:
            share = overload.move_lines(self.network, share, second)
        return share

    def _node_watts(self, rest: Floats) -> Floats:
        nodes = self._layout.nodes
        gpu = sum_by(self._node_of_gpu, self.boards.power, len(nodes.id))
        each = rest / np.maximum(np.bincount(nodes.rack, minlength=len(rest)), 1)
        return np.asarray(gpu + _OF_NODES * each[nodes.rack])

    def _agreed_caps(self) -> Floats:
        """Return each board's cap, so low that no limit above it is passed while all work at their caps."""
        racks = self._layout.racks
        allowed = self.network.gpu_allowance(allowances(self.network))
        share = np.clip(allowed / np.maximum(racks.nameplate_watts, 1.0), _LEAST_CAP, 1.0)
        nameplate = self._layout.gpu_nameplate_watts
        return np.floor(share[racks.of_gpu()] * nameplate / _CAP_STEP_WATTS) * _CAP_STEP_WATTS


def _is_amd(layout: Layout) -> NDArray[np.bool_]:
    vendors = layout.registry.vendors
    amd = vendors.filter(pl.col("name").str.to_lowercase() == "amd")["vendor"]
    return layout.slots["vendor"].is_in(amd.implode()).fill_null(False).to_numpy()
