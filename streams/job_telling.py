"""What one partition of GPUs tells of the seconds of jobs, beside the seconds of its racks.

It is asked for each second that closes and for what came late, and when a record amends seconds that closed.
Without jobs it costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from streams.gpu_slots import GpuSlots
from streams.job_book import Amended, JobBook, Plan
from streams.job_cells import Columns, JobSeconds, job_seconds, planned
from streams.ring import RingView
from streams.rings import Rings

Bools = NDArray[np.bool_]
Int64s = NDArray[np.int64]


class JobTelling:
    """Gather rows until they are taken; of a job and second the last are the fullest."""

    def __init__(self, book: JobBook) -> None:
        self.book = book
        self._said: list[JobSeconds] = []
        self._columns: Columns | None = None

    def closed(self, rings: Rings, first: int, end: int) -> None:
        """Tell the seconds `[first, end)` as they stand."""
        if self.book:
            self._said += [said for said, _ in self._seconds(rings, first, end)]

    def touched(self, rings: Rings, second: Int64s, slot: Int64s) -> None:
        """Tell again the jobs that late readings touched, slots being those of the facility of their second."""
        for each in np.unique(second).tolist() if self.book else ():
            for said, columns in self._seconds(rings, each, each + 1):
                jobs = columns.plan.subject[columns.job[columns.touched(slot[second == each])]]
                self._said.append(said.where(np.isin(said.subject, jobs)))

    def amended(self, rings: Rings, amended: Iterable[Amended], first: int, end: int) -> None:
        """Tell again what records changed in the seconds `[first, end)`."""
        for _, subject, low, high in amended:
            for said, _ in self._seconds(rings, max(low, first), min(high, end)):
                self._said.append(said.where(said.subject == subject))

    def take(self) -> list[JobSeconds]:
        """Return what was told since the last call."""
        taken, self._said = [each for each in self._said if len(each.second)], []
        return taken

    def _seconds(self, rings: Rings, first: int, end: int) -> Iterable[tuple[JobSeconds, Columns]]:
        for part in rings.parts(first, end):
            if self._is_idle(part.first, part.end, part.slots):
                continue
            for plan, view in planned(self.book, part.ring.view(part.first, part.end), part.slots):
                columns = self._of(plan, view)
                if len(columns.of):
                    yield job_seconds(view, columns), columns

    def _is_idle(self, first: int, end: int, slots: GpuSlots) -> bool:
        """Tell, without looking at a reading, whether no job has any GPU in `[first, end)`."""
        plan = self.book.plan(first, slots)
        return not plan.tenures and end <= plan.end

    def _of(self, plan: Plan, view: RingView) -> Columns:
        # By what lies below: every view of a ring is a new one of the same slots until a rack comes to it.
        known = self._columns
        if known is None or known.plan is not plan or known.slots.base is not view.slot.base:
            known = self._columns = Columns.between(plan, view.slot)
        return known
