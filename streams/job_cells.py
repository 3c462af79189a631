"""Seconds of jobs: the sums of the cells of the GPUs that each job has. The interval join, in columns. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.job_partial import JOB_PARTIAL
from schemas.rejection import ADMISSION_VERSION
from streams.cells import SECOND, TEMPERATURE_BIAS
from streams.digest import SPREAD
from streams.gpu_slots import GpuSlots
from streams.job_book import JobBook, Plan
from streams.lists import begins
from streams.partial_rows import Nullable, rows_of
from streams.ring import RingView
from streams.runs import Runs, there

Bools = NDArray[np.bool_]
Int64s = NDArray[np.int64]


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
    """Where the GPUs of each job of a plan stand among the columns of a view: run by run in `of`, each of a `job`."""

    plan: Plan
    slots: Int64s
    of: Int64s
    runs: Runs
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
        return cls(plan, slots, at[here], Runs.between(starts, len(job)), job[starts])

    def touched(self, slots: Int64s) -> Bools:
        """Tell which of the jobs have any of these slots."""
        marked = np.zeros(len(self.slots), np.bool_)
        marked[np.searchsorted(self.slots, slots)] = True
        return np.logical_or.reduceat(marked[self.of], self.runs.starts)


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
    plan, _, of, runs, job = columns
    cells = view if len(of) == len(view.slot) and _is_all(of) else _picked(view, of)
    came, powered, used = there(cells.micros), there(cells.power), there(cells.utilization)
    some, reporting, used_by = (runs.number(each, len(cells.second)) for each in (came, powered, used))
    power, utilization = runs.total(cells.power, powered), runs.total(cells.utilization, used)
    power_max = power if np.may_share_memory(view.power, view.power_max) else runs.total(cells.power_max, powered)
    micros, warmth = runs.total(cells.micros, came), runs.total(cells.temperature, there(cells.temperature))
    readings = runs.total(cells.readings, came)
    rows = JobSeconds(
        second=np.broadcast_to(view.second[:, None], some.shape),
        subject=np.broadcast_to(plan.subject[job], some.shape),
        job_record=np.broadcast_to(plan.record[job], some.shape),
        coverage=np.broadcast_to(plan.coverage[job], some.shape),
        power_deciwatts=np.where(reporting > 0, power, -1),
        power_max_deciwatts=np.where(reporting > 0, power_max, -1),
        nameplate_milliwatts=_nameplate(powered, plan.slots.nameplate_milliwatts[view.slot[of]], runs, some.shape),
        utilization_sum_e4=utilization,
        utilization_count=used_by,
        temperature=runs.greatest(cells.temperature),
        reporting=reporting,
        oldest_age_microseconds=runs.oldest_age(cells.micros, came),
        readings=readings,
        digest=_digest(micros, power, power_max, reporting, utilization, used_by, warmth, readings),
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


def _nameplate(powered: Bools | None, nameplates: Int64s, runs: Runs, shape: tuple[int, ...]) -> Int64s:
    """Return Σ of the nameplates of what reports power; −1 where one of them is not known."""
    plates = np.broadcast_to(nameplates, (shape[0], len(nameplates))) if powered is not None else nameplates[None, :]
    watts = runs.total(np.maximum(plates, 0), powered)
    if nameplates.min() < 0:
        watts = np.where(runs.total(plates < 0, powered) > 0, -1, watts)
    return np.broadcast_to(watts, shape)


def _digest(*sums: Int64s) -> Int64s:
    """Return Σ mod 2⁶⁴ of a hash a GPU that is linear in what it says: so it is that of the sums, at no cost a GPU.

    It differs where the sums differ, and a window is made of nothing else.
    """
    total = np.zeros(sums[0].shape, np.uint64)
    for column, spread in zip(sums, SPREAD, strict=True):
        total += column.view(np.uint64) * np.uint64(spread)
    return total.view(np.int64)
