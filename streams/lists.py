"""Lists of indices, one a subject, and sums along them: how a second of a whole campus becomes a few gathers.

Missing is kept apart from zero: MISSING is never summed, and is the sum of nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.condition import Bools, Ints

MISSING = np.iinfo(np.int64).min
"""Stands for null in integer arrays; never a value, and never summed."""


class Lists(NamedTuple):
    """Hold one list of indices a subject: `of[first[i] : first[i] + count[i]]`; `some` are the subjects with any."""

    of: Ints
    some: Ints
    first: Ints

    @classmethod
    def grouped(cls, subject: Ints, member: Ints) -> Lists:
        """Return the lists of pairs (subject, member), each member once."""
        order = np.lexsort((member, subject))
        subject, member = subject[order], member[order]
        is_new = np.ones(len(subject), dtype=bool)
        is_new[1:] = (subject[1:] != subject[:-1]) | (member[1:] != member[:-1])
        some, first = np.unique(subject[is_new], return_index=True)
        return cls(member[is_new], some, first)

    @property
    def counts(self) -> Ints:
        """Return how many members each of `some` has."""
        return np.diff(np.append(self.first, len(self.of)))

    @property
    def whose(self) -> Ints:
        """Return, per member of `of`, the subject whose it is."""
        return np.repeat(self.some, self.counts)

    def sum(self, dense: Ints, width: int) -> Ints:
        """Return, as [second, subject], the sum of what is not missing of each list; MISSING where nothing is."""
        total = np.full((len(dense), width), MISSING)
        if len(self.some):
            gathered = dense[:, self.of]
            is_there = gathered != MISSING
            sums = np.add.reduceat(np.where(is_there, gathered, 0), self.first, axis=1)
            total[:, self.some] = np.where(np.logical_or.reduceat(is_there, self.first, axis=1), sums, MISSING)
        return total

    def total(self, dense: Ints, width: int) -> Ints:
        """Return, as [second, subject], the sum of each list of an array without anything missing; 0 of nothing."""
        total = np.zeros((len(dense), width), dtype=np.int64)
        if len(self.some):
            total[:, self.some] = np.add.reduceat(dense[:, self.of], self.first, axis=1)
        return total

    def greatest(self, dense: Ints, width: int) -> Ints:
        """Return, as [second, subject], the greatest of each list; MISSING where nothing is."""
        greatest = np.full((len(dense), width), MISSING)
        if len(self.some):
            greatest[:, self.some] = np.maximum.reduceat(dense[:, self.of], self.first, axis=1)
        return greatest

    def any(self, is_so: Bools, width: int) -> Bools:
        """Return, as [second, subject], whether any of each list is so."""
        found = np.zeros((len(is_so), width), dtype=bool)
        if len(self.some):
            found[:, self.some] = np.logical_or.reduceat(is_so[:, self.of], self.first, axis=1)
        return found


def zeroed(column: Ints) -> Ints:
    """Return an array with 0 where it is MISSING."""
    return np.where(column == MISSING, 0, column)


def begins(*columns: NDArray[np.integer]) -> Bools:
    """Tell which rows begin a run of equal values in all columns."""
    count = len(columns[0])
    if not count:
        return np.zeros(0, dtype=np.bool_)
    differs = np.zeros(count, dtype=np.bool_)
    differs[0] = True
    for column in columns:
        differs[1:] |= column[1:] != column[:-1]
    return differs


def is_in_log_order(partition: NDArray[np.integer], offset: NDArray[np.integer]) -> bool:
    """Tell whether rows lie by partition, and of each partition by offset."""
    step = np.diff(partition)
    return bool(np.all((step > 0) | ((step == 0) & (np.diff(offset) >= 0))))
