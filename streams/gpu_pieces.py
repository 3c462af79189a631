"""Pieces of GPUs and the histograms of their racks, summed over the cells of a ring. Pure.

Each function looks at one piece: the seconds of a view that lie in it. All is in integers, so that the same
readings give the same rows in whatever order they came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.column import Record
from schemas.histogram import DECICELSIUS_A_BIN, E4_A_BIN, Metric, power_bin
from schemas.piece import PIECE, PIECE_HISTOGRAM, PIECE_SECONDS
from schemas.subject import SubjectKind, gpu_subject
from streams.cells import TEMPERATURE_BIAS
from streams.digest import hashed
from streams.gpu_slots import GpuSlots
from streams.partial_rows import Nullable, rows_of
from streams.ring import RingView

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
Slots = NDArray[np.integer]
Seconds = TypeVar("Seconds", int, Int64s)

SECOND = 1_000_000
_POWER_BINS = power_bin(np.arange(200_001)).astype(np.int32)
"""Bins of every power that admission lets pass, so that a cell costs a look-up."""


class Piece(NamedTuple):
    """Hold what is said of one piece: PIECE rows ordered by slot, PIECE_HISTOGRAM rows ordered by rack."""

    start: int
    end: int
    gpus: pl.DataFrame
    histogram: pl.DataFrame


def piece_start(second: Seconds) -> Seconds:
    """Return the second at which the piece of a second, or of each second, begins."""
    return second // PIECE_SECONDS * PIECE_SECONDS


def pieces_of(view: RingView, slots: GpuSlots) -> Iterator[Piece]:
    """Yield the pieces of a view in which a GPU said something, the oldest first.

    Of a piece of which the view has not all seconds it says what there is, under the piece's own start.
    """
    for start in np.unique(piece_start(view.second)).tolist():
        cells = _between(view, start, start + PIECE_SECONDS)
        if (cells.micros >= 0).any():
            yield piece(cells, slots, start)


def piece(view: RingView, slots: GpuSlots, start: int) -> Piece:
    """Return what the cells of a view, all of the piece that begins at `start`, say of the GPUs that said something."""
    came = view.micros >= 0
    digests = _digests(view, came, slots)
    gpus = _Columns(view, came, digests, start)
    rows = _frame(PIECE, gpus.rows(_subjects(view, slots)), gpus.readings > 0)
    return Piece(start, start + PIECE_SECONDS, rows, _histogram(view, slots, start, gpus.readings, digests))


def touched(view: RingView, slots: GpuSlots, start: int, subjects: Int64s) -> Piece:
    """Return the piece that begins at `start` as far as readings of the GPUs `subjects` touched it.

    That is the rows of these GPUs, and of the histograms those of their racks.
    """
    rack = slots.rack[view.slot]
    columns = np.isin(rack, rack[np.isin(_subjects(view, slots), subjects)])
    of_racks = RingView._make((view.second, view.slot[columns], *(cells[:, columns] for cells in view[2:])))
    found = piece(of_racks, slots, start)
    return found._replace(gpus=found.gpus.filter(pl.Series(np.isin(found.gpus["subject"].to_numpy(), subjects))))


def _subjects(view: RingView, slots: GpuSlots) -> Int64s:
    subjects: Int64s = gpu_subject(slots.node[view.slot].astype(np.int64), slots.gpu[view.slot])
    return subjects


def _between(view: RingView, first: int, end: int) -> RingView:
    low, high = np.searchsorted(view.second, (first, end)).tolist()
    return RingView._make((view.second[low:high], view.slot, *(cells[low:high] for cells in view[2:])))


class _Columns:
    """Sum the cells of one piece by GPU; every array is by slot of the view, −1 = none in those of readings."""

    def __init__(self, view: RingView, came: Bools, digests: Int64s, start: int) -> None:
        self.view, self.start = view, start
        self.readings = np.where(came, view.readings, 0).sum(axis=0, dtype=np.int64)
        self.digest = digests
        last = len(view.second) - 1 - came[::-1].argmax(axis=0)
        self.last = (view.second[last] - start) * SECOND + view.micros[last, np.arange(came.shape[1])]

    def rows(self, subject: Int64s) -> dict[str, tuple[Int64s, Bools | None]]:
        """Return the columns of PIECE: values, and where they are null."""
        powered, no_power = _reported(self.view.power)
        used, no_use = _reported(self.view.utilization)
        warmest = self.view.temperature.max(axis=0)
        return {
            "start": (np.full(len(subject), self.start * SECOND), None),
            "subject_kind": (np.full(len(subject), int(SubjectKind.GPU)), None),
            "subject": (subject, None),
            "power_sum_deciwatts": (_sum(self.view.power, powered), no_power),
            "power_seconds": (powered.sum(axis=0), None),
            "power_max_deciwatts": (self.view.power_max.max(axis=0), no_power),
            "utilization_sum_e4": (_sum(self.view.utilization, used), no_use),
            "utilization_seconds": (used.sum(axis=0), None),
            "temperature_max_decicelsius": (warmest - np.int64(TEMPERATURE_BIAS), warmest < 0),
            **self._energy(),
            "last_microseconds": (self.last, None),
            "readings": (self.readings, None),
            "digest": (self.digest, None),
        }

    def _energy(self) -> dict[str, tuple[Int64s, Bools | None]]:
        counter, (counted, nothing) = self.view.energy, _reported(self.view.energy)
        first, last = counted.argmax(axis=0), len(counter) - 1 - counted[::-1].argmax(axis=0)
        columns = np.arange(counter.shape[1])
        fell = (counted & (counter < np.maximum.accumulate(counter, axis=0))).any(axis=0)
        return {
            "energy_first_joules": (counter[first, columns], nothing),
            "energy_last_joules": (counter[last, columns], nothing),
            "energy_first_second": (self.view.second[first] - self.start, nothing),
            "energy_last_second": (self.view.second[last] - self.start, nothing),
            "energy_fell": (fell, None),
        }


def _reported(column: NDArray[np.integer]) -> tuple[Bools, Bools]:
    """Return which cells have a value, and of which GPUs none has."""
    there = column >= 0
    return there, np.logical_not(there.any(axis=0))


def _sum(column: NDArray[np.integer], there: Bools) -> Int64s:
    said = column if there.all() else np.where(there, column, 0)
    return cast(Int64s, said.sum(axis=0, dtype=np.int64))


def _digests(view: RingView, came: Bools, slots: GpuSlots) -> Int64s:
    """Return, by GPU, Σ mod 2⁶⁴ of a hash of each reading that stands and of what is kept over all of its second."""
    words = hashed(
        view.second[:, None] * SECOND + view.micros,
        _pair(view.power, view.power_max),
        _pair(view.utilization, view.temperature),
        view.energy,
        view.readings,
        np.broadcast_to(slots.identity[view.slot].view(np.int64), came.shape),
    )
    total: Int64s = np.where(came, words, np.uint64(0)).sum(axis=0).view(np.int64)
    return total


def _pair(upper: NDArray[np.integer], lower: NDArray[np.integer]) -> Int64s:
    return upper.astype(np.int64) << 32 | lower.astype(np.int32).view(np.uint32)


def _histogram(view: RingView, slots: GpuSlots, start: int, readings: Int64s, digests: Int64s) -> pl.DataFrame:
    racks, starts = np.unique(slots.rack[view.slot], return_index=True)
    # The slots of a view are ordered by rack, so each rack is one stretch of columns.
    nth = np.repeat(np.arange(len(racks)), np.diff(np.append(starts, len(view.slot))))
    counted = [
        (Metric.GPU_POWER_WATTS, *_counts(nth, _POWER_BINS[view.power], view.power >= 0)),
        (Metric.GPU_UTILIZATION_FRACTION, *_counts(nth, view.utilization // E4_A_BIN, view.utilization >= 0)),
        (Metric.GPU_TEMPERATURE_CELSIUS, *_counts(nth, _degrees(view.temperature), view.temperature >= 0)),
    ]
    metric = np.concatenate([np.full(len(rack), each) for each, rack, _, _ in counted])
    rack, number, count = (np.concatenate([each[part] for each in counted]) for part in (1, 2, 3))
    order = np.argsort(rack, kind="stable")
    of_rack = rack[order]
    rows = {
        "start": np.full(len(order), start * SECOND),
        "subject_kind": np.full(len(order), int(SubjectKind.RACK)),
        "subject": racks[of_rack],
        "metric": metric[order],
        "bin": number[order],
        "count": count[order],
        "readings": np.add.reduceat(readings, starts)[of_rack],
        "digest": np.add.reduceat(digests, starts)[of_rack],
    }
    return _frame(PIECE_HISTOGRAM, {name: (column, None) for name, column in rows.items()})


def _degrees(temperature: NDArray[np.integer]) -> Int64s:
    return (temperature.astype(np.int64) - TEMPERATURE_BIAS) // DECICELSIUS_A_BIN


def _counts(rack: Int64s, number: NDArray[np.integer], there: Bools) -> tuple[Int64s, Int64s, Int64s]:
    """Return (rack, bin, count) of the bins that have any of the cells [second, GPU] in `there`, by rack and bin."""
    bins = number if there.all() else number[there]
    if not bins.size:
        return (np.empty(0, np.int64),) * 3
    lowest = int(bins.min())
    width = int(bins.max()) - lowest + 1
    cells = number + (rack * width - lowest)
    counts = np.bincount((cells if bins is number else cells[there]).ravel())
    found = np.flatnonzero(counts)
    return found // width, found % width + lowest, counts[found]


def _frame(
    record: Record, columns: dict[str, tuple[Int64s, Bools | None]], chosen: Bools | None = None
) -> pl.DataFrame:
    given: dict[str, Int64s | Nullable] = {}
    is_all = chosen is None or bool(chosen.all())
    for name, (values, is_null) in columns.items():
        here = values if is_all else values[chosen]
        nulls = is_null if is_null is None or is_all else is_null[chosen]
        given[name] = here if nulls is None else Nullable(here, nulls)
    return rows_of(record, given, int(np.count_nonzero(chosen)) if chosen is not None else len(values))
