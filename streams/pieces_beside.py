"""Pieces of one GPU that a second partition tells: a rack whose key changed, or messages without a key. Pure.

Nearly always there are none. Whether their seconds are the same ones nobody can tell from sums; so what can be
disjoint adds up, what cannot is told once, and the lake is asked (docs/decisions/0037).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.piece import PIECE_SECONDS
from streams.condition import Bools, Ints

Rows = NDArray[np.void]


class Beside:
    """Keep, by start and partition, rows of GPUs whose pieces another partition told first."""

    def __init__(self) -> None:
        self._kept: dict[int, dict[int, tuple[Ints, Rows]]] = {}

    def put(self, start: int, partition: int, subjects: Ints, rows: Rows) -> Bools:
        """Keep the fuller piece of each GPU; return which are others now."""
        of_start = self._kept.setdefault(start, {})
        known, old = of_start.get(partition, (np.empty(0, np.int64), rows[:0]))
        before = picked(old, known, subjects)
        changed = is_fuller(rows, before)
        stays = ~np.isin(known, subjects[changed])
        all_subjects = np.append(known[stays], subjects[changed])
        order = np.argsort(all_subjects)
        of_start[partition] = all_subjects[order], np.append(old[stays], rows[changed])[order]
        return changed

    def of(self, start: int, subjects: Ints) -> list[Rows]:
        """Return what each partition tells of these GPUs, where any of them tells something."""
        found = [picked(rows, known, subjects) for known, rows in self._kept.get(start, {}).values()]
        return [rows for rows in found if rows["readings"].any()]

    def forget(self, kept_from: int) -> None:
        """Let go of the pieces before a time."""
        for start in [start for start in self._kept if start < kept_from]:
            del self._kept[start]


def is_fuller(rows: Rows, old: Rows) -> Bools:
    """Tell which rows stand in place of old ones: those with more readings, of as many the later in the log.

    As many and others are a conflict (schemas.md 6), and what came last is the ring's.
    """
    is_other = (rows["readings"] == old["readings"]) & (rows["digest"] != old["digest"])
    fuller: Bools = (rows["readings"] > old["readings"]) | is_other
    return fuller


def picked(rows: Rows, known: Ints, subjects: Ints) -> Rows:
    """Return the row of each subject; one without readings where it is not among `known`, ascending."""
    found = np.zeros(len(subjects), rows.dtype)
    place = np.searchsorted(known, subjects)
    there = np.flatnonzero(place < len(known))
    there = there[known[place[there]] == subjects[there]]
    found[there] = rows[place[there]]
    return found


def apart(told: list[Rows]) -> list[Rows]:
    """Return what partitions tell of the same GPUs as pieces that follow each other and share no second.

    What two tell alike counts once. Where together they have more seconds than a piece, some are in both: the
    fullest stands, with the version of all.
    """
    rows = np.stack(told)
    rows[_is_repeated(rows)] = np.zeros(1, rows.dtype)
    seconds = np.maximum(
        *(rows[name].astype(np.int64).sum(axis=0) for name in ("power_seconds", "utilization_seconds"))
    )
    doubled = np.flatnonzero(seconds > PIECE_SECONDS)
    rows[:, doubled] = _fullest(rows[:, doubled])
    order = np.argsort(np.where(rows["readings"] > 0, rows["last_microseconds"], -1), axis=0, kind="stable")
    return list(np.take_along_axis(rows, order, axis=0))


def _is_repeated(rows: Rows) -> Bools:
    repeated = np.zeros(rows.shape, bool)
    for later in range(1, len(rows)):
        for first in range(later):
            same = rows["readings"][later] == rows["readings"][first]
            repeated[later] |= same & (rows["digest"][later] == rows["digest"][first])
    return repeated


def _fullest(rows: Rows) -> Rows:
    """Return, by GPU, the row with the most seconds and readings in the first place and nothing in the others."""
    fullest = np.zeros_like(rows)
    order = np.lexsort((rows["digest"], rows["readings"], rows["power_seconds"]), axis=0)
    fullest[0] = np.take_along_axis(rows, order[-1:], axis=0)[0]
    for name in ("readings", "digest"):
        fullest[name][0] = rows[name].sum(axis=0)
    return fullest
