"""How hard every GPU works: what its job asks for at this second, and how its node strays from that."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from sources.simulated.jobs import IDLE, IMAGE, INTERACTIVE, OTHER, TRAINING, VIDEO, WORKLOADS, Blocks
from sources.simulated.layout import Layout
from sources.simulated.load import day_demand, ramp, training_load

F32 = NDArray[np.float32]
Floats = NDArray[np.float64]

_STEADY_LOAD = 0.7
"""Load of a job that is neither training nor inference."""
_DRIFT, _CALM = np.float32(0.012), np.float32(0.96)
"""A node's share of the requests wanders: by this much a second, forgetting at this rate."""
_ALONE, _TOGETHER = np.float32(2.0), np.float32(0.2)
"""Nodes of inference get requests of their own; nodes of a training job wait for each other."""


class Demand:
    """Say how hard blocks and GPUs work over the second that ends at a whole second."""

    def __init__(self, layout: Layout, blocks: Blocks, rng: np.random.Generator) -> None:
        self._tenants, self._rng = blocks.tenants, rng
        self._block_of_node, self._node_of_gpu = blocks.of_node(), layout.nodes.of_gpu()
        self._site = np.array([blocks.site_of(block) for block in range(len(blocks))], dtype=np.int64)
        self._zones = [ZoneInfo(name) for name in layout.time_zones]
        self._drift = np.zeros(len(layout.nodes.id), dtype=np.float32)

    def of_blocks(self, second: int) -> Floats:
        """Return the load that each block's job asks for, 0–1; all its GPUs follow it in phase."""
        tenants = self._tenants
        age = np.maximum(second - 1 - tenants.started, 0.0)
        hours = self.hours(second)[self._site]
        by_workload = {
            TRAINING: training_load(age, tenants.step, tenants.communication, tenants.checkpoint, tenants.writing),
            OTHER: np.full(len(age), _STEADY_LOAD),
            **{kind: day_demand(WORKLOADS[kind], hours) for kind in (IMAGE, VIDEO, INTERACTIVE)},
        }
        load = np.select([tenants.workload == kind for kind in by_workload], list(by_workload.values()), 0.0)
        return np.asarray(load * tenants.intensity * ramp(age))

    def of_gpus(self, block_load: Floats) -> F32:
        """Return each GPU's load, and let the nodes stray by one more second."""
        self._drift *= _CALM
        self._drift += _DRIFT * self._rng.standard_normal(len(self._drift), dtype=np.float32)
        workload = self._tenants.workload[self._block_of_node]
        follows = np.where((workload == TRAINING) | (workload == IDLE), _TOGETHER, _ALONE)
        load = block_load[self._block_of_node] * (1.0 + follows * self._drift)
        return np.clip(load, 0.0, 1.0).astype(np.float32)[self._node_of_gpu]

    def hours(self, second: int) -> Floats:
        """Return the local hour of day of each site, 0–24."""
        times = [datetime.fromtimestamp(second, UTC).astimezone(zone) for zone in self._zones]
        return np.array([time.hour + time.minute / 60.0 + time.second / 3600.0 for time in times])
