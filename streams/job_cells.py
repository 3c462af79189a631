"""Seconds of jobs: the sums of the cells of the GPUs that each job has. The interval join, in columns. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.job_partial import JOB_PARTIAL
from schemas.rejection import ADMISSION_VERSION
from streams.cells import SECOND, TEMPERATURE_BIAS
from streams.digest import hashed
from streams.gpu_slots import GpuSlots
from streams.job_book import JobBook, Plan
from streams.lists import begins
from streams.partial_rows import Nullable, rows_of
from streams.ring import RingView

Bools = NDArray[np.bool_]
Int64s = NDArray[np.int64]
Starts = NDArray[np.intp]


class JobSeconds(NamedTuple):
    """Rows of (second, job) of which something came; −1 = null in `power`, `power_max`, `nameplate`, `temperature`."""

    second: Int64s
    subject: Int64s
    job_record: Int64s
    coverage: Int64s
    power_deciwatts: Int64s
    power_max_deciwatts: Int64s
    nameplate_milliwatts: Int64s
    utilization_sum_e4: Int64s
    utilization_count: Int64s
    temperature: Int64s
    reporting: Int64s
    oldest_age_microseconds: Int64s
    readings: Int64s
    digest: Int64s

    def where(self, chosen: Bools) -> JobSeconds:
        """Return the rows that a mask chooses."""
        return self if chosen.all() else JobSeconds._make(column[chosen] for column in self)


class Columns(NamedTuple):
    """Where the GPUs of each job of a plan stand among the columns of a view: `of[starts[i]:]`, and which job it is."""

    plan: Plan
    slots: Int64s
    of: Int64s
    starts: Starts
    job: Int64s

    @classmethod
    def between(cls, plan: Plan, slots: Int64s) -> Columns:
        """Find the GPUs of jobs among the slots of a view."""
        column = np.full(len(plan.slots.rack), -1, np.int64)
        column[slots] = np.arange(len(slots))
        at = column[plan.slot]
        here = at >= 0
        job = plan.job[here]
        starts = np.flatnonzero(begins(job))
        return cls(plan, slots, at[here], starts, job[starts])

    def touched(self, slots: Int64s) -> Bools:
        """Tell which of the jobs have any of these slots."""
        marked = np.zeros(len(self.slots), np.bool_)
        marked[np.searchsorted(self.slots, slots)] = True
        return np.logical_or.reduceat(marked[self.of], self.starts)


def planned(book: JobBook, view: RingView, slots: GpuSlots) -> Iterator[tuple[Plan, RingView]]:
    """Yield the seconds of a view by who has which GPUs in them, one plan after the other."""
    first = 0
    while first < len(view.second):
        plan = book.plan(int(view.second[first]), slots)
        end = int(np.searchsorted(view.second, plan.end))
        part = view if end - first == len(view.second) else _part(view, first, end)
        if len(plan.tenures):
            yield plan, part
        first = end


def job_seconds(view: RingView, columns: Columns) -> JobSeconds:
    """Sum the cells of a view, all its seconds of one plan, by job; of what nothing came there is no row."""
    plan, _, of, starts, job = columns
    cells = view if len(of) == len(view.slot) and _is_all(of) else _picked(view, of)
    came, powered, used = cells.micros >= 0, cells.power >= 0, cells.utilization >= 0
    some = _total(came, starts)
    shape = some.shape
    reporting = _total(powered, starts)
    power, power_max = (_of_there(column, powered, starts) for column in (cells.power, cells.power_max))
    youngest = np.minimum.reduceat(np.where(came, cells.micros, SECOND), starts, axis=1)
    rows = JobSeconds(
        second=np.broadcast_to(view.second[:, None], shape),
        subject=np.broadcast_to(plan.subject[job], shape),
        job_record=np.broadcast_to(plan.record[job], shape),
        coverage=np.broadcast_to(plan.coverage[job], shape),
        power_deciwatts=np.where(reporting > 0, power, -1),
        power_max_deciwatts=np.where(reporting > 0, power_max, -1),
        nameplate_milliwatts=_nameplate(powered, plan.slots.nameplate_milliwatts[view.slot[of]], starts),
        utilization_sum_e4=_of_there(cells.utilization, used, starts),
        utilization_count=_total(used, starts),
        temperature=np.maximum.reduceat(cells.temperature, starts, axis=1).astype(np.int64),
        reporting=reporting,
        oldest_age_microseconds=SECOND - youngest.astype(np.int64),
        readings=_of_there(cells.readings, came, starts),
        digest=_digest(cells, came, plan.slots.identity[view.slot[of]], starts),
    )
    return JobSeconds._make(column.ravel() for column in rows).where(some.ravel() > 0)


def frame_of(parts: Sequence[tuple[int, JobSeconds]]) -> pl.DataFrame:
    """Return rows of JOB_PARTIAL of what partitions say, ordered by second."""
    rows = JobSeconds._make(np.concatenate(columns) for columns in zip(*(said for _, said in parts), strict=True))
    partition = np.repeat([number for number, _ in parts], [len(said.second) for _, said in parts])
    order = np.argsort(rows.second, kind="stable")
    rows, partition = JobSeconds._make(column[order] for column in rows), partition[order]
    silent, warmth = rows.power_deciwatts < 0, rows.temperature
    columns = {name: getattr(rows, name) for name in JobSeconds._fields if name in JOB_PARTIAL.polars} | {
        "second": rows.second * SECOND,
        "partition": partition,
        "admission": np.full(len(partition), ADMISSION_VERSION),
        "power_milliwatts": Nullable(rows.power_deciwatts * 100, silent),
        "power_max_milliwatts": Nullable(rows.power_max_deciwatts * 100, silent),
        "nameplate_milliwatts": Nullable(rows.nameplate_milliwatts, rows.nameplate_milliwatts < 0),
        "temperature_max_decicelsius": Nullable(warmth - TEMPERATURE_BIAS, warmth < 0),
    }
    return rows_of(JOB_PARTIAL, columns, len(partition))


def messages_of(rows: pl.DataFrame, most: int) -> Iterator[pl.DataFrame]:
    """Yield rows as messages of at most `most` rows each."""
    for first, end in pairwise([*range(0, len(rows), most), len(rows)]):
        yield rows[first:end]


def _part(view: RingView, first: int, end: int) -> RingView:
    return RingView._make((view.second[first:end], view.slot, *(cells[first:end] for cells in view[2:])))


def _picked(view: RingView, of: Int64s) -> RingView:
    return RingView._make((view.second, view.slot, *(cells.take(of, axis=1) for cells in view[2:])))


def _is_all(of: Int64s) -> bool:
    return bool(of[0] == 0 and np.all(np.diff(of) == 1))


def _total(there: Bools, starts: Starts) -> Int64s:
    return np.add.reduceat(there, starts, axis=1, dtype=np.int64)


def _of_there(column: NDArray[Any], there: Bools, starts: Starts) -> Int64s:
    return np.add.reduceat(np.where(there, column, 0), starts, axis=1, dtype=np.int64)


def _nameplate(powered: Bools, nameplates: Int64s, starts: Starts) -> Int64s:
    """Return Σ of the nameplates of what reports power; −1 where one of them is not known."""
    watts = _of_there(np.broadcast_to(np.maximum(nameplates, 0), powered.shape), powered, starts)
    if nameplates.min() >= 0:
        return watts
    return np.where(_total(powered & (nameplates < 0), starts) > 0, -1, watts)


def _digest(cells: RingView, came: Bools, identity: NDArray[np.uint64], starts: Starts) -> Int64s:
    """Return Σ mod 2⁶⁴ of a hash of what stands in each cell."""
    words = hashed(
        cells.second[:, None] * SECOND + cells.micros,
        cells.power.astype(np.int64) << 32 | cells.power_max,
        cells.utilization.astype(np.int64) << 32 | cells.temperature,
        cells.readings,
        np.broadcast_to(identity.view(np.int64), came.shape),
    )
    words[~came] = 0
    return np.add.reduceat(words, starts, axis=1).view(np.int64)
