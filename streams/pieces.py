"""The pieces of minutes that are still open: of each GPU and ten seconds the fuller one, whoever sent it.

GPUs are known by their subject (schemas/subject.py), not by the registry, so that a facility may change in the
middle of a minute. A message costs a scatter of its rows, so that the end of a minute finds all in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl

from schemas.piece import PIECE_SECONDS
from streams.condition import Bools, Ints
from streams.filled import filled
from streams.late_spans import LateSpans
from streams.lists import begins
from streams.pieces_beside import Beside, Rows, apart, is_fuller

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOTHING = -(1 << 31)
"""Stands for null in the integers of a row."""

ROW = np.dtype([
    ("readings", "<i8"), ("digest", "<i8"), ("energy_first_joules", "<i8"), ("energy_last_joules", "<i8"),
    ("power_sum_deciwatts", "<i4"), ("power_max_deciwatts", "<i4"), ("utilization_sum_e4", "<i4"),
    ("temperature_max_decicelsius", "<i4"), ("last_microseconds", "<i4"), ("power_seconds", "<i1"),
    ("utilization_seconds", "<i1"), ("energy_first_second", "<i1"), ("energy_last_second", "<i1"),
    ("energy_fell", "<i1"), ("partition", "<i2"),
])  # fmt: skip
"""What is kept of a PIECE row, and who told it; `readings` 0 = nothing came, NOTHING (in bytes 0) = null."""
_COLUMNS = [name for name in ROW.names or () if name != "partition"]
_NULLS = {"temperature_max_decicelsius": NOTHING, "energy_first_joules": NOTHING, "energy_last_joules": NOTHING}


class RackPiece(NamedTuple):
    """Hold the histograms of one rack and piece: their version, and a number of (metric, bin) with its counts."""

    readings: int
    digest: int
    binned: Ints
    counts: Ints


BIN_BITS = 16
"""`binned` is the metric above so many bits for the bin, which may be negative: half of them is added to it."""


class Pieces:
    """Keep the pieces from `kept_from` on; nobody else changes the state."""

    def __init__(self) -> None:
        self._subjects: Ints = np.empty(0, np.int64)
        self._columns: Ints = np.empty(0, np.int64)
        self._kept: dict[int, Rows] = {}
        self._beside = Beside()
        self._histograms: dict[int, dict[tuple[int, int], RackPiece]] = {}
        self.torn = LateSpans()
        """Seconds of which partitions tell different things of one GPU: only the lake can tell what is in both."""

    def take(self, start: int, rows: pl.DataFrame, partition: int) -> Ints:
        """Take PIECE rows of the piece that begins at `start` (µs); return the subjects whose piece is another now."""
        subjects = rows["subject"].to_numpy().astype(np.int64)
        return subjects[self._put(start, subjects, _rows(rows, partition))]

    def take_histogram(self, start: int, rows: pl.DataFrame, partition: int) -> Ints:
        """Take PIECE_HISTOGRAM rows of such a piece; return the racks of which it says something else now."""
        said, changed = self._histograms.setdefault(start, {}), []
        for rack, piece in _by_rack(rows):
            before = said.get((rack, partition))
            if (
                before is None
                or piece.readings > before.readings
                or (piece.readings == before.readings and piece.digest != before.digest)
            ):
                said[rack, partition] = piece
                changed.append(rack)
        return np.array(changed, np.int64)

    def of_minute(self, minute: int, subjects: Ints) -> list[tuple[int, Rows]]:
        """Return (start, rows of these subjects) of each piece of a minute, the oldest first."""
        starts = sorted(start for start in self._kept if minute <= start < minute + MINUTE)
        at = self._find(subjects)
        found: list[tuple[int, Rows]] = []
        for start in starts:
            told, beside = _picked(self._kept[start], at), self._beside.of(start, subjects)
            found += [(start, rows) for rows in (apart([told, *beside]) if beside else [told])]
        return found

    def histograms(self, minute: int, racks: Ints) -> list[list[RackPiece]]:
        """Return, by rack, what the pieces of a minute say of its GPUs; what two partitions say alike, once."""
        found: dict[int, dict[tuple[int, int, int], RackPiece]] = {rack: {} for rack in racks.tolist()}
        for start, said in self._histograms.items():
            if minute <= start < minute + MINUTE:
                for (rack, _), piece in said.items():
                    if rack in found:
                        found[rack].setdefault((start, piece.readings, piece.digest), piece)
        return [list(pieces.values()) for pieces in found.values()]

    def forget(self, kept_from: int) -> None:
        """Let go of the pieces before a time."""
        self._beside.forget(kept_from)
        for kept in (self._kept, self._histograms):
            for start in [start for start in kept if start < kept_from]:
                del kept[start]

    def _put(self, start: int, subjects: Ints, rows: Rows) -> Bools:
        columns, kept = self._columns_of(subjects), self._kept.get(start)
        if kept is None or len(kept) < len(self._columns):
            kept = self._kept[start] = _grown(kept, len(self._columns))
        old = kept[columns]
        is_newer = is_fuller(rows, old)
        is_anothers = (old["readings"] > 0) & (old["partition"] != rows["partition"])
        if is_anothers.any():
            is_newer &= ~is_anothers
            is_newer[is_anothers] = self._put_beside(start, subjects[is_anothers], rows[is_anothers], old[is_anothers])
        mine = is_newer & ~is_anothers
        kept[columns[mine]] = rows[mine]
        return is_newer

    def _put_beside(self, start: int, subjects: Ints, rows: Rows, old: Rows) -> Bools:
        """Keep what a second partition tells, but for what the first told alike; return which are others now."""
        is_new: Bools = (rows["readings"] != old["readings"]) | (rows["digest"] != old["digest"])
        if is_new.any():
            first = np.array([start // SECOND])
            self.torn.note(first, first + PIECE_SECONDS)
            is_new[is_new] = self._beside.put(start, int(rows["partition"][0]), subjects[is_new], rows[is_new])
        return is_new

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


def _by_rack(rows: pl.DataFrame) -> Iterator[tuple[int, RackPiece]]:
    """Yield the histograms of each rack; the rows of a rack follow each other."""
    names = ("subject", "readings", "digest", "metric", "bin", "count")
    rack, readings, digest, metric, number, count = (rows[name].to_numpy().astype(np.int64) for name in names)
    binned = (metric << BIN_BITS) + number + (1 << (BIN_BITS - 1))
    starts = np.flatnonzero(begins(rack)).tolist()
    for first, end in pairwise([*starts, len(rack)]):
        yield int(rack[first]), RackPiece(int(readings[first]), int(digest[first]), binned[first:end], count[first:end])


def _rows(frame: pl.DataFrame, partition: int) -> Rows:
    rows = np.zeros(len(frame), ROW)
    rows["partition"] = partition
    for name in _COLUMNS:
        rows[name] = filled(frame[name], _NULLS.get(name, 0))
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
