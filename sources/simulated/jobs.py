"""Who works where: blocks of nodes, each of which runs one job after the other.

A block is a partition of a scheduler: neighbouring nodes of one site. Its tenant is a job with its
own step time, checkpoints and intensity, or nobody while the block waits for the next one. All of
it is drawn from the seed, so that the same seed gives the same jobs at the same seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.job import Allocation, Job, Workload
from sources.simulated.layout import Layout

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WORKLOADS: tuple[Workload, ...] = ("training", "image", "video", "interactive", "other")
TRAINING, IMAGE, VIDEO, INTERACTIVE, OTHER, IDLE = range(6)

_SHARES = (0.50, 0.13, 0.11, 0.15, 0.06, 0.05)
_NODES_MEDIAN = {TRAINING: 72, IMAGE: 16, VIDEO: 16, INTERACTIVE: 24, OTHER: 8, IDLE: 12}
_NODES_MOST = {TRAINING: 0.12, IMAGE: 0.03, VIDEO: 0.03, INTERACTIVE: 0.04, OTHER: 0.02, IDLE: 0.02}
_HOURS_MEDIAN = {TRAINING: 30.0, IMAGE: 60.0, VIDEO: 4.0, INTERACTIVE: 90.0, OTHER: 1.5, IDLE: 1.0}
_USERS = ("aisha", "omar", "layla", "yusuf", "mei", "jonas", "priya", "tomas", "noura", "khalid", "sofia", "daniel")
_ACCOUNTS = {TRAINING: "foundation", IMAGE: "imaging", VIDEO: "video", INTERACTIVE: "assistant", OTHER: "research"}
_PRIORITIES = {TRAINING: 50, IMAGE: 60, VIDEO: 40, INTERACTIVE: 90, OTHER: 10}


_TRAITS = ("started", "ended", "step", "communication", "checkpoint", "writing", "intensity", "memory_share")


@dataclass
class Tenants:
    """Hold one element a block: what its job is like. Times are seconds since the epoch."""

    workload: Ints
    started: Floats
    ended: Floats
    step: Floats
    communication: Floats
    checkpoint: Floats
    writing: Floats
    intensity: Floats
    """Share of a GPU's power range that the job reaches at full load."""
    memory_share: Floats
    number: Ints

    @classmethod
    def none(cls, blocks: int) -> Tenants:
        """Return blocks without a tenant, ready at once for the first."""
        return cls(
            workload=np.full(blocks, IDLE),
            **{name: np.ones(blocks) for name in _TRAITS},
            number=np.zeros(blocks, dtype=np.int64),
        )


@dataclass
class Blocks:
    """Hold the blocks of a campus and their tenants; `advance` is the only thing that changes them."""

    layout: Layout
    rng: np.random.Generator
    node_first: Ints
    node_count: Ints
    tenants: Tenants
    reserved: dict[int, int]
    """Blocks that stay idle until an incident starts its job on them, with the number of that incident."""
    _next_number: int = 1
    _running: dict[int, Job] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.node_first)

    def of_node(self) -> Ints:
        """Return the block of each node."""
        return np.repeat(np.arange(len(self)), self.node_count)

    def of_gpu(self) -> Ints:
        """Return the block of each GPU."""
        return self.of_node()[self.layout.nodes.of_gpu()]

    def gpu_count(self) -> Ints:
        """Return how many GPUs each block has."""
        return np.bincount(self.of_node(), self.layout.nodes.gpu_count, minlength=len(self)).astype(np.int64)

    def running(self) -> dict[int, Job]:
        """Return the record of the job on each block that has one."""
        return self._running

    def fill(self, now: float) -> list[Job]:
        """Give blocks their first tenants, who started some time before `now`."""
        records = []
        for block in np.flatnonzero(self.tenants.workload != IDLE):
            hours = self._lifetime(int(self.tenants.workload[block]))
            past = float(self.rng.uniform(0.0, 0.8)) * hours
            records.append(self._begin(int(block), int(self.tenants.workload[block]), now - 3600.0 * past, hours))
        waiting = self.tenants.workload == IDLE
        self.tenants.ended[waiting] = now + self.rng.uniform(30.0, 3600.0, int(waiting.sum()))
        self.tenants.ended[list(self.reserved)] = np.inf
        return records

    def advance(self, now: float) -> list[Job]:
        """End the jobs whose time has come and start others; return every record that changed."""
        due = np.flatnonzero(self.tenants.ended <= now)
        return [record for block in due for record in self._turn(int(block), now)]

    def start(self, block: int, workload: int, now: float, until: float, name: str) -> Job:
        """Start the job called `name` on a block that has none, to end at `until`."""
        return self._begin(block, workload, now, (until - now) / 3600.0, name)

    def _turn(self, block: int, now: float) -> list[Job]:
        if self.tenants.workload[block] == IDLE:
            workload = int(self.rng.choice(5, p=np.array(_SHARES[:5]) / sum(_SHARES[:5])))
            return [self._begin(block, workload, now, self._lifetime(workload))]
        self.tenants.workload[block] = IDLE
        reserved = block in self.reserved
        self.tenants.ended[block] = np.inf if reserved else now + self.rng.uniform(20.0, 120.0)
        return [_ended(self._running.pop(block), now)]

    def _lifetime(self, workload: int) -> float:
        return _HOURS_MEDIAN[workload] * float(self.rng.lognormal(0.0, 0.6))

    def _begin(self, block: int, workload: int, started: float, hours: float, name: str | None = None) -> Job:
        tenants, rng = self.tenants, self.rng
        tenants.workload[block] = workload
        tenants.started[block], tenants.ended[block] = started, started + 3600.0 * hours
        tenants.step[block] = rng.uniform(4.0, 18.0)
        tenants.communication[block] = tenants.step[block] * rng.uniform(0.08, 0.22)
        tenants.checkpoint[block] = rng.uniform(240.0, 900.0)
        tenants.writing[block] = rng.uniform(6.0, 20.0)
        tenants.intensity[block] = rng.uniform(0.72, 0.98) if workload == TRAINING else rng.uniform(0.6, 0.95)
        tenants.memory_share[block] = rng.uniform(0.55, 0.95)
        tenants.number[block] = self._next_number
        self._next_number += 1
        self._running[block] = self._record(block, workload, started, name)
        return self._running[block]

    def _record(self, block: int, workload: int, started: float, name: str | None) -> Job:
        nodes = self.layout.nodes
        span = range(self.node_first[block], self.node_first[block] + self.node_count[block])
        site = self.layout.site_paths[self.site_of(block)]
        return Job(
            site=site,
            job=name or f"{site}-{WORKLOADS[workload]}-{self.tenants.number[block]:06d}",
            user=_USERS[int(self.rng.integers(len(_USERS)))],
            account=_ACCOUNTS[workload],
            workload=WORKLOADS[workload],
            state="running",
            submitted=_utc(started - float(self.rng.exponential(600.0))),
            started=_utc(started),
            priority=_PRIORITIES[workload],
            allocations=[Allocation(nodes.path[node], 0, int(nodes.gpu_count[node]) - 1) for node in span],
        )

    def site_of(self, block: int) -> int:
        """Return the index of a block's site."""
        site = self.layout.racks.site[self.layout.nodes.rack[self.node_first[block]]]
        return int(np.searchsorted(self.layout.sites, site))


def blocks_of(layout: Layout, rng: np.random.Generator, reserved_racks: Sequence[Sequence[int]]) -> Blocks:
    """Cut the nodes of each site into blocks and deal them their first workloads.

    The racks of each entry of `reserved_racks` become a block of their own without a tenant.
    """
    cut: list[tuple[int, int]] = []
    reserved: dict[int, int] = {}
    for count, number in _stretches(layout, reserved_racks):
        if number is None:
            cut += _cut(count, rng)
        else:
            reserved[len(cut)] = number
            cut.append((count, IDLE))
    node_count = np.array([count for count, _ in cut], dtype=np.int64)
    tenants = Tenants.none(len(cut))
    tenants.workload[:] = [workload for _, workload in cut]
    return Blocks(
        layout=layout,
        rng=rng,
        node_first=np.cumsum(node_count) - node_count,
        node_count=node_count,
        tenants=tenants,
        reserved=reserved,
    )


def _stretches(layout: Layout, reserved_racks: Sequence[Sequence[int]]) -> list[tuple[int, int | None]]:
    """Return runs of nodes that one block may span: (nodes of one site, None) or (nodes reserved, for which entry)."""
    rack = layout.nodes.rack
    group = -1 - layout.racks.site[rack]
    for number, racks in enumerate(reserved_racks):
        group[np.isin(rack, racks)] = number
    starts = np.flatnonzero(np.diff(group, prepend=group[:1] - 1))
    ends = np.append(starts[1:], len(group))
    runs = zip(starts, ends, group[starts], strict=True)
    return [(int(end - start), int(number) if number >= 0 else None) for start, end, number in runs]


def _cut(nodes: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Cut a run of nodes into (size, workload), with each workload near its share of the nodes."""
    left = np.array(_SHARES) * nodes
    cut = []
    remaining = nodes
    while remaining:
        workload = int(np.argmax(left * rng.uniform(0.5, 1.0, len(left))))
        size = int(_NODES_MEDIAN[workload] * rng.lognormal(0.0, 0.5))
        size = min(max(1, size), max(1, int(_NODES_MOST[workload] * nodes)), remaining)
        cut.append((size, workload))
        left[workload] -= size
        remaining -= size
    return cut


def _ended(job: Job, now: float) -> Job:
    return msgspec.structs.replace(job, state="completed", ended=_utc(now))


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), tz=UTC)
