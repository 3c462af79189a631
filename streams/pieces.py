"""The pieces of minutes that are still open: of each GPU and ten seconds the fuller one, whoever sent it.

GPUs are known by their subject (schemas/subject.py), not by the registry, so that a facility may change in the
middle of a minute. A message costs a scatter of its rows, so that the end of a minute finds all in its place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streams.condition import Bools, Ints

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOTHING = -(1 << 31)
"""Stands for null in the integers of a row."""

ROW = np.dtype([
    ("readings", "<i8"), ("digest", "<i8"), ("energy_first_joules", "<i8"), ("energy_last_joules", "<i8"),
    ("power_sum_deciwatts", "<i4"), ("power_max_deciwatts", "<i4"), ("utilization_sum_e4", "<i4"),
    ("temperature_max_decicelsius", "<i4"), ("last_microseconds", "<i4"), ("power_seconds", "<i1"),
    ("utilization_seconds", "<i1"), ("energy_first_second", "<i1"), ("energy_last_second", "<i1"),
    ("energy_fell", "<i1"),
])  # fmt: skip
"""What is kept of a PIECE row; `readings` 0 = nothing came, NOTHING (in bytes 0) = null."""
_NULLS = {"temperature_max_decicelsius": NOTHING, "energy_first_joules": NOTHING, "energy_last_joules": NOTHING}

Rows = NDArray[np.void]


class Histogram(NamedTuple):
    """Hold the histograms of one message: the version of each rack, and rows ordered by rack."""

    racks: pl.DataFrame
    rows: pl.DataFrame


class Pieces:
    """Keep the pieces from `kept_from` on; nobody else changes the state."""

    def __init__(self) -> None:
        self._subjects: Ints = np.empty(0, np.int64)
        self._columns: Ints = np.empty(0, np.int64)
        self._kept: dict[int, Rows] = {}
        self._histograms: dict[int, list[Histogram]] = {}

    def take(self, rows: pl.DataFrame) -> dict[int, Ints]:
        """Take PIECE rows; return the subjects whose piece is another now, by its minute (µs)."""
        changed: dict[int, Ints] = {}
        for (start,), of_start in rows.with_columns(pl.col("start").cast(pl.Int64)).group_by("start"):
            assert isinstance(start, int)
            subjects = of_start["subject"].to_numpy().astype(np.int64)
            is_newer = self._put(start, self._columns_of(subjects), _rows(of_start))
            minute = start // MINUTE * MINUTE
            changed[minute] = np.append(changed.get(minute, np.empty(0, np.int64)), subjects[is_newer])
        return changed

    def take_histogram(self, rows: pl.DataFrame) -> dict[int, Ints]:
        """Take PIECE_HISTOGRAM rows; return the racks of which they say something else than before, by minute (µs)."""
        changed: dict[int, Ints] = {}
        for (start,), of_start in rows.with_columns(pl.col("start").cast(pl.Int64)).group_by("start"):
            assert isinstance(start, int)
            versions = of_start.select("subject", "readings", "digest").unique("subject", keep="first")
            counts = of_start.select("subject", "metric", "bin", "count")
            said = self._histograms.setdefault(start, [])
            before = pl.concat([versions.clear(), *(each.racks for each in said)])
            said.append(Histogram(versions, counts))
            minute = start // MINUTE * MINUTE
            racks = versions.join(before, on=versions.columns, how="anti")["subject"].to_numpy().astype(np.int64)
            changed[minute] = np.append(changed.get(minute, np.empty(0, np.int64)), racks)
        return changed

    def of_minute(self, minute: int, subjects: Ints) -> list[tuple[int, Rows]]:
        """Return (start, rows of these subjects) of each piece of a minute, the oldest first."""
        starts = sorted(start for start in self._kept if minute <= start < minute + MINUTE)
        at = self._find(subjects)
        return [(start, _picked(self._kept[start], at)) for start in starts]

    def histograms(self, minute: int, chosen: pl.Expr) -> pl.DataFrame:
        """Return frame (start, subject, metric, bin, count, readings, digest): the pieces of a minute of some racks."""
        parts = []
        for start in sorted(start for start in self._histograms if minute <= start < minute + MINUTE):
            found = _greatest(self._histograms[start], chosen)
            parts += [part.select(pl.lit(start, pl.Int64).alias("start"), pl.all()) for part in found]
        return pl.concat([pl.DataFrame(schema=_COUNTS), *parts])

    def came(self, minute: int, subjects: Ints) -> bool:
        """Tell whether any of these GPUs said something in a minute."""
        return any(bool((rows["readings"] > 0).any()) for _, rows in self.of_minute(minute, subjects))

    def forget(self, kept_from: int) -> None:
        """Let go of the pieces before a time."""
        for kept in (self._kept, self._histograms):
            for start in [start for start in kept if start < kept_from]:
                del kept[start]

    def _put(self, start: int, columns: Ints, rows: Rows) -> Bools:
        kept = self._kept.get(start)
        if kept is None or len(kept) < len(self._columns):
            kept = self._kept[start] = _grown(kept, len(self._columns))
        old = kept[columns]
        # Of as many readings the later in the log stands: a conflict (schemas.md 6), and what came last is the ring's.
        is_other = (rows["readings"] == old["readings"]) & (rows["digest"] != old["digest"])
        is_newer: Bools = (rows["readings"] > old["readings"]) | is_other
        kept[columns[is_newer]] = rows[is_newer]
        return is_newer

    def _columns_of(self, subjects: Ints) -> Ints:
        at = self._find(subjects)
        if (at < 0).any():
            new = np.unique(subjects[at < 0])
            subjects_now = np.append(self._subjects, new)
            columns = np.append(self._columns, len(self._columns) + np.arange(len(new)))
            order = np.argsort(subjects_now)
            self._subjects, self._columns = subjects_now[order], columns[order]
            at = self._find(subjects)
        return at

    def _find(self, subjects: Ints) -> Ints:
        """Return the column of each subject, −1 where it never came."""
        if not len(self._subjects):
            return np.full(len(subjects), -1)
        place = np.minimum(np.searchsorted(self._subjects, subjects), len(self._subjects) - 1)
        return np.where(self._subjects[place] == subjects, self._columns[place], -1)


_COUNTS: dict[str, Any] = {
    "start": pl.Int64, "subject": pl.Int32, "metric": pl.Int8, "bin": pl.Int16, "count": pl.Int32,
    "readings": pl.Int32, "digest": pl.Int64,
}  # fmt: skip


def _greatest(messages: list[Histogram], chosen: pl.Expr) -> list[pl.DataFrame]:
    """Return the rows of each chosen rack from the message that has most of its readings, of equal ones the last."""
    versions = pl.concat([
        each.racks.filter(chosen).with_columns(message=pl.lit(nth, pl.Int32)) for nth, each in enumerate(messages)
    ])  # fmt: skip
    by_version = versions.sort("readings", "message")
    stands = by_version.unique("subject", keep="last").partition_by("message", as_dict=True)
    return [
        messages[int(nth)].rows.join(racks.drop("message"), on="subject", how="inner")
        for (nth,), racks in sorted(stands.items())
    ]


def _rows(frame: pl.DataFrame) -> Rows:
    rows = np.zeros(len(frame), ROW)
    for name in ROW.names or ():
        column = frame[name]
        if column.dtype == pl.Boolean:
            column = column.cast(pl.Int8)
        rows[name] = column.fill_null(_NULLS.get(name, 0)).to_numpy()
    return rows


def _grown(kept: Rows | None, size: int) -> Rows:
    grown = np.zeros(size, ROW)
    if kept is not None:
        grown[: len(kept)] = kept
    return grown


def _picked(kept: Rows, at: Ints) -> Rows:
    """Return the rows at columns; one without readings where there is no such column."""
    inside = (at >= 0) & (at < len(kept))
    rows = kept[np.where(inside, at, 0)]
    rows[~inside] = np.zeros(1, ROW)
    return rows
