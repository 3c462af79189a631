"""The book of jobs: what each job has by its newest record, and which job each GPU works for in a second. Pure."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.job import Job, Placed
from schemas.place import Places
from streams.gpu_slots import UNKNOWN, GpuSlots
from streams.tenure import Name, Tenure, differing

Int64s = NDArray[np.int64]

MOST_JOBS = 20_000
"""Jobs that are remembered; of more those that ended first are forgotten."""
MOST_PLANS = 16
MOST_AMENDED = 100_000


class Amended(NamedTuple):
    """Say that by a record a job has other GPUs in the seconds `[first, end)` than was known before it."""

    record: int
    subject: int
    first: int
    end: int


class Plan(NamedTuple):
    """Say which GPUs work for which jobs in each of the seconds `[first, end)`, all alike.

    `subject`, `record`, `coverage`, `expected` and `nameplate_milliwatts` (Σ, −1 = not known) are by job; jobs
    without a GPU of the facility are left out. `job` (its number among those) and `slot` are pairs, ordered by both.
    """

    first: int
    end: int
    slots: GpuSlots
    tenures: tuple[Tenure, ...]
    subject: Int64s
    record: Int64s
    coverage: Int64s
    expected: Int64s
    nameplate_milliwatts: Int64s
    job: Int64s
    slot: Int64s


class JobBook:
    """Keep the newest record of each job; `heard` is the offset after the last message of the log that was heard."""

    def __init__(self) -> None:
        self.heard = 0
        self.amended: list[Amended] = []
        """What each record changed, in log order; of more than MOST_AMENDED the newest."""
        self._tenures: dict[Name, Tenure] = {}
        self._bounds: list[int] = []
        self._plans: list[Plan] = []
        self._gpus: dict[tuple[int, int, int], tuple[Tenure, GpuSlots, Int64s]] = {}
        """Of the newest plan; by identity, and the entry keeps tenure and slots alive."""

    def __bool__(self) -> bool:
        return bool(self._bounds)

    def hear(self, records: Iterable[Placed[Job]], through: int = 0) -> list[Amended]:
        """Take records in log order and the offset after the last message; return what they changed."""
        found = [each for placed in records for each in self._take(Tenure.of(placed))]
        self.heard = max(self.heard, through)
        self.amended = [*self.amended, *found][-MOST_AMENDED:]
        self._forget()
        return found

    def follow(self, places: Places) -> None:
        """Give nodes that were registered since the ids that they have now."""
        self._tenures = {name: tenure.known_in(places) for name, tenure in self._tenures.items()}
        self._plans.clear()

    def plan(self, second: int, slots: GpuSlots) -> Plan:
        """Return who has which of the GPUs `slots` in a second."""
        for plan in self._plans:
            if plan.slots is slots and plan.first <= second < plan.end:
                return plan
        tenures = self._at_work(second)
        plan = _plan(tenures, self._gpus_of(tenures, second, slots), second, self._stretch(second), slots)
        self._plans = [plan, *self._plans[: MOST_PLANS - 1]]
        return plan

    def newest(self, subject: int) -> Tenure | None:
        """Return what a job has by its newest record; None where it was never heard of."""
        return next((each for each in self._tenures.values() if each.subject == subject), None)

    def below(self, paths: tuple[str, ...], second: int) -> Iterator[Name]:
        """Yield the jobs that have GPUs in a second of nodes whose path and "/" begin with any of these."""
        for tenure in self._at_work(second):
            if any(f"{share.named}/".startswith(paths) for share in tenure.shares_in(second)):
                yield tenure.name

    def _take(self, tenure: Tenure) -> list[Amended]:
        before = self._tenures.get(tenure.name)
        if (before and tenure.record < before.record) or not (before or tenure.shares):
            return []
        self._tenures[tenure.name] = tenure
        self.heard = max(self.heard, tenure.record)
        for bound in tenure.bounds:
            insort(self._bounds, bound)
        self._plans.clear()
        return [Amended(tenure.record, tenure.subject, *stretch) for stretch in differing(before, tenure)]

    def _gpus_of(self, tenures: Sequence[Tenure], second: int, slots: GpuSlots) -> list[Int64s]:
        """Return the GPUs of each; of those of the plan before only what changed is looked up."""
        known, self._gpus = self._gpus, {}
        for each in tenures:
            key = (id(each), each.part(second), id(slots))
            self._gpus[key] = known[key] if key in known else (each, slots, each.gpus(second, slots))
        return [gpus for _, _, gpus in self._gpus.values()]

    def _at_work(self, second: int) -> list[Tenure]:
        return [each for each in self._tenures.values() if each.bounds and each.bounds[0] <= second < each.bounds[-1]]

    def _stretch(self, second: int) -> tuple[int, int]:
        """Return the seconds around one in which no job begins or ends; bounds of old records only split it."""
        after = bisect_right(self._bounds, second)
        low = self._bounds[after - 1] if after else -(1 << 62)
        return low, self._bounds[after] if after < len(self._bounds) else 1 << 62

    def _forget(self) -> None:
        if len(self._tenures) <= MOST_JOBS:
            return
        by_end = sorted(self._tenures.values(), key=lambda each: each.bounds[-1] if each.bounds else 0)
        for tenure in by_end[: len(by_end) - MOST_JOBS]:
            del self._tenures[tenure.name]
        self._bounds = sorted({bound for tenure in self._tenures.values() for bound in tenure.bounds})


def _plan(
    tenures: Sequence[Tenure], gpus: Sequence[Int64s], second: int, stretch: tuple[int, int], slots: GpuSlots
) -> Plan:
    mine = [(tenure, its) for tenure, its in zip(tenures, gpus, strict=True) if len(its)]
    counts = np.array([len(its) for _, its in mine], np.int64)
    slot = np.concatenate([np.zeros(0, np.int64), *(its for _, its in mine)])
    starts = np.cumsum(counts) - counts
    nameplate = slots.nameplate_milliwatts[slot]
    unknown = _sums(nameplate < 0, starts)
    return Plan(
        *stretch,
        slots,
        tuple(tenure for tenure, _ in mine),
        subject=np.array([tenure.subject for tenure, _ in mine], np.int64),
        record=np.array([tenure.record for tenure, _ in mine], np.int64),
        coverage=np.array([tenure.coverage(second) for tenure, _ in mine], np.int64),
        expected=counts,
        nameplate_milliwatts=np.where(unknown > 0, UNKNOWN, _sums(nameplate, starts)),
        job=np.repeat(np.arange(len(mine)), counts),
        slot=slot,
    )


def _sums(values: NDArray[np.generic], starts: Int64s) -> Int64s:
    return np.add.reduceat(values, starts, dtype=np.int64) if len(starts) else np.zeros(0, np.int64)
