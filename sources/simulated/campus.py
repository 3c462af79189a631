"""One second of a whole campus after the other, from a registry and a seed; no clock, no Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from schemas.job import Job, Progress
from schemas.registry import Registry
from sources.simulated.demand import Demand
from sources.simulated.incidents import plan
from sources.simulated.jobs import OTHER, blocks_of
from sources.simulated.layout import layout_of
from sources.simulated.meters import meters_of
from sources.simulated.plant import Plant
from sources.simulated.progress import Output
from sources.simulated.readings import Readings
from sources.simulated.truth import truth_of


@dataclass(frozen=True)
class Second:
    """Hold what one second of the campus sends; `gpu` is ordered by rack, rows of a meter stand together."""

    time: int
    """The whole second since the epoch; each reading is the mean over the second before its stamp."""
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

    Raises ConfigurationError where the facility has nothing that one of `incidents` could strike.
    """

    def __init__(
        self, registry: Registry, *, seed: int, start: int, incidents: Sequence[str] = (), jitter: bool = True
    ) -> None:
        draws = [np.random.Generator(np.random.SFC64(child)) for child in np.random.SeedSequence(seed).spawn(6)]
        self.layout = layout_of(registry)
        self.incidents = plan(incidents, self.layout, start, draws[0])
        self.plant = Plant(self.layout, self.incidents, draws[1])
        self.blocks = blocks_of(self.layout, draws[2], [incident.racks for incident in self.incidents])
        self.demand = Demand(self.layout, self.blocks, draws[3])
        self._first_jobs = self.blocks.fill(start)
        self._readings = Readings(self.layout, self.blocks, draws[4], jitter)
        self._meters = meters_of(self.layout, draws[5], jitter)
        self._output = Output(self.blocks)
        self._next = start

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
        load = self.demand.of_blocks(second)
        self.plant.step(second, self.demand.of_gpus(load))
        flow = self.plant.flow(second, self.demand.hours(second))
        silent = [incident.index for incident in self.incidents if incident.is_silent(second)]
        return Second(
            time=second,
            gpu=self._readings.frame(second, self.plant.boards, load, silent),
            power=self._meters.frame(second, flow, silent),
            jobs=jobs,
            progress=self._output.advance(second, load),
        )

    def _turn_jobs(self, second: int) -> list[Job]:
        """Return every job record that changed: those of the scheduler, and those that incidents start."""
        changed, self._first_jobs = [*self._first_jobs, *self.blocks.advance(second)], []
        for block, number in self.blocks.reserved.items():
            incident = self.incidents[number]
            if incident.starts == second:
                changed.append(self.blocks.start(block, OTHER, second, incident.ends, str(incident.job)))
        return changed
