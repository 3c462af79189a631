"""One second of a whole campus after the other, from a registry and a seed; no clock, no Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.job import Job, Progress
from schemas.registry import Registry
from sources.simulated.gpus import boards_of
from sources.simulated.incidents import plan
from sources.simulated.jobs import IDLE, IMAGE, INTERACTIVE, OTHER, TRAINING, VIDEO, WORKLOADS, blocks_of
from sources.simulated.layout import layout_of
from sources.simulated.load import day_demand, ramp, training_load
from sources.simulated.meters import meters_of
from sources.simulated.overload import overload_of
from sources.simulated.progress import Output
from sources.simulated.readings import Readings
from sources.simulated.tree import Flow, allowances, network_of
from sources.simulated.truth import truth_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DRIFT, _CALM = 0.012, 0.96
"""A node's share of the demand wanders: this much a second, forgetting at this rate."""
_SHARE_DRIFT = 0.004


@dataclass(frozen=True)
class Second:
    """Hold what one second of the campus sends; `gpu` is ordered by rack, rows of a meter stand together."""

    time: int
    """The whole second since the epoch."""
    gpu: pl.DataFrame
    """The columns of `schemas.gpu.GPU`."""
    power: pl.DataFrame
    """The columns of `schemas.meter.METER`."""
    jobs: list[Job]
    """The records that changed; in the first second those of all running jobs."""
    progress: list[Progress]


class Campus:
    """Simulate the campus of a registry from the second `start` on.

    The same registry, seed, start, incidents and jitter give the same frames. With `jitter` a
    reading is stamped up to 0.2 s after its whole second, as each collector comes round; without
    it on the whole second.
    """

    def __init__(
        self, registry: Registry, *, seed: int, start: int, incidents: Sequence[str] = (), jitter: bool = True
    ) -> None:
        draws = [np.random.Generator(np.random.SFC64(child)) for child in np.random.SeedSequence(seed).spawn(6)]
        plant, jobs, meters, noise, wander, chance = draws
        self.layout = layout_of(registry)
        self.incidents = plan(incidents, self.layout, start, chance)
        self._next, self._jitter, self._noise, self._wander = start, jitter, noise, wander
        self._network = network_of(self.layout, plant)
        self._meters = meters_of(self.layout, meters)
        self._overloads = [overload_of(incident, self._network) for incident in self.incidents if incident.racks]
        self.blocks = blocks_of(self.layout, jobs, [overload.incident.racks for overload in self._overloads])
        self._fresh = self.blocks.fill(start)
        self._caps_in_order = self._caps()
        self._boards = boards_of(self.layout, self._caps_in_order, self._is_amd(registry), plant)
        self._index()
        self._node_drift = np.zeros(len(self.layout.nodes.id), dtype=np.float32)
        self._line_drift = np.zeros(len(self.layout.lines.rack))
        self._readings = Readings(self.layout, self.blocks, noise, jitter)
        self._output = Output(self.blocks)

    @property
    def truths(self) -> list[dict[str, Any]]:
        """Return the truth of every incident, known before it happens."""
        return [truth_of(incident) for incident in self.incidents]

    def second(self, second: int) -> Second:
        """Return the second `second`; each follows the one before, anything else raises ValueError."""
        if second != self._next:
            raise ValueError(f"second {second} asked for; a campus has a past, and the next second is {self._next}")
        self._next += 1
        jobs = self._turn_jobs(second)
        block_load = self._block_load(second)
        self._step_boards(second, block_load)
        silent = self._silent(second)
        power = self._meters.frame(second, self._flow(second), silent, self._noise, self._jitter)
        progress = self._output.advance(second, block_load)
        gpu = self._readings.frame(second, self._boards, block_load, silent)
        return Second(second, gpu, power, jobs, progress)

    # -- what does not change ---------------------------------------------------------------------

    def _caps(self) -> Floats:
        racks = self.layout.racks
        allowed = self._network.gpu_allowance(allowances(self._network))
        share = np.clip(allowed / np.maximum(racks.nameplate_watts, 1.0), 0.2, 1.0)
        nameplate = self.layout.slots["nameplate_watts"].fill_null(1000.0).to_numpy()
        return np.floor(share[racks.of_gpu()] * nameplate / 5.0) * 5.0

    def _is_amd(self, registry: Registry) -> NDArray[np.bool_]:
        amd = registry.vendors.filter(pl.col("name").str.to_lowercase() == "amd")["vendor"]
        return self.layout.slots["vendor"].is_in(amd.implode()).fill_null(False).to_numpy()

    def _index(self) -> None:
        layout, blocks = self.layout, self.blocks
        self._gpu_rack, self._gpu_node = layout.racks.of_gpu(), layout.nodes.of_gpu()
        self._node_block = blocks.of_node()
        self._block_site = np.array([blocks.site_of(block) for block in range(len(blocks))], dtype=np.int64)
        self._zones = [ZoneInfo(name) for name in layout.time_zones]

    # -- one second -------------------------------------------------------------------------------

    def _turn_jobs(self, second: int) -> list[Job]:
        changed, self._fresh = self._fresh + self.blocks.advance(second), []
        for block, number in self.blocks.reserved.items():
            incident = self._overloads[number].incident
            if incident.starts == second:
                changed.append(self.blocks.start(block, OTHER, second, incident.ends, str(incident.job)))
        return changed

    def _block_load(self, second: int) -> Floats:
        tenants = self.blocks.tenants
        age = np.maximum(second - tenants.started, 0.0)
        load = np.where(tenants.workload == OTHER, 0.7, 0.0)
        training = training_load(
            age,
            np.maximum(tenants.step, 1.0),
            tenants.communication,
            np.maximum(tenants.checkpoint, 1.0),
            tenants.writing,
        )
        load = np.where(tenants.workload == TRAINING, training, load)
        hours = self._hours(second)[self._block_site]
        for workload in (IMAGE, VIDEO, INTERACTIVE):
            load = np.where(tenants.workload == workload, day_demand(WORKLOADS[workload], hours), load)
        return load * tenants.intensity * ramp(age) * (tenants.workload != IDLE)

    def _hours(self, second: int) -> Floats:
        """Return the local hour of day of each site."""
        times = [datetime.fromtimestamp(second, UTC).astimezone(zone) for zone in self._zones]
        return np.array([time.hour + time.minute / 60.0 + time.second / 3600.0 for time in times])

    def _step_boards(self, second: int, block_load: Floats) -> None:
        drift = self._node_drift
        drift *= np.float32(_CALM)
        drift += np.float32(_DRIFT) * self._wander.standard_normal(len(drift), dtype=np.float32)
        workload = self.blocks.tenants.workload[self._node_block]
        asynchronous = np.where((workload == TRAINING) | (workload == IDLE), np.float32(0.2), np.float32(2.0))
        node_load = np.clip(block_load[self._node_block] * (1.0 + asynchronous * drift), 0.0, 1.0).astype(np.float32)
        wobble = np.float32(0.006) * self._wander.standard_normal(len(self._gpu_node), dtype=np.float32)
        self._boards.work(node_load[self._gpu_node], wobble)
        for overload in self._overloads:
            overload.drive(self._boards, self._caps_in_order, second)
        self._boards.settle()

    def _flow(self, second: int) -> Flow:
        layout, network = self.layout, self._network
        gpu = np.bincount(self._gpu_rack, self._boards.power, minlength=len(layout.racks.id))
        extra = np.zeros(len(gpu))
        for overload in self._overloads:
            overload.add_rest(extra, second)
        racks = network.rack_watts(gpu, extra)
        self._line_drift = _CALM * self._line_drift + _SHARE_DRIFT * self._wander.standard_normal(len(self._line_drift))
        share = network.line_share * np.exp(self._line_drift)
        share /= np.bincount(layout.lines.rack, share, minlength=len(racks))[layout.lines.rack]
        for overload in self._overloads:
            share = overload.move_lines(network, share, second)
        cooling = 0.16 + 0.05 * np.sin((self._hours(second) - 9.0) / 24.0 * 2.0 * np.pi)
        return network.flow(racks, self._node_watts(racks - gpu), cooling, share)

    def _node_watts(self, rest: Floats) -> Floats:
        nodes = self.layout.nodes
        gpu = np.bincount(self._gpu_node, self._boards.power, minlength=len(nodes.id))
        each = rest / np.maximum(np.bincount(nodes.rack, minlength=len(rest)), 1)
        return np.asarray(gpu + 0.85 * each[nodes.rack])

    def _silent(self, second: int) -> Ints:
        silent = [incident.index for incident in self.incidents if incident.is_silent(second)]
        return np.array(silent, dtype=np.int64)
