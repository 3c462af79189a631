"""Cells [second, GPU] summed run by run: the GPUs of a rack, or those that a job has, stand side by side. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.cells import SECOND

Bools = NDArray[np.bool_]
Int64s = NDArray[np.int64]


def there(column: NDArray[Any]) -> Bools | None:
    """Return which cells have a value, those that are not negative; None = all of them."""
    return None if column.min() >= 0 else column >= 0


class Runs(NamedTuple):
    """Where each run begins among the columns of cells, and how many it has, at least one.

    `there` says which cells count, None = all of them: so a campus of which nobody is silent costs no masks.
    """

    starts: Int64s
    counts: Int64s

    @classmethod
    def between(cls, starts: Int64s, width: int) -> Runs:
        """Return the runs that end where the next one begins, the last one at `width`."""
        return cls(starts, np.diff(np.append(starts, width)))

    def total(self, column: NDArray[Any], there: Bools | None = None) -> Int64s:
        """Return Σ of each run [second, run]."""
        return np.add.reduceat(_filled(column, there, 0), self.starts, axis=1, dtype=np.int64)

    def number(self, there: Bools | None, seconds: int) -> Int64s:
        """Return how many cells of each run are there, in so many seconds; not to be written to."""
        if there is not None:
            return np.add.reduceat(there, self.starts, axis=1, dtype=np.int64)
        return np.broadcast_to(self.counts, (seconds, len(self.counts)))

    def greatest(self, column: NDArray[Any]) -> Int64s:
        """Return the greatest of each run."""
        return np.maximum.reduceat(column, self.starts, axis=1).astype(np.int64)

    def oldest_age(self, micros: NDArray[Any], there: Bools | None) -> Int64s:
        """Return, at the end of each second in µs, the age of the oldest reading of each run; 0 where nothing came."""
        return SECOND - np.minimum.reduceat(_filled(micros, there, SECOND), self.starts, axis=1).astype(np.int64)


def _filled(column: NDArray[Any], there: Bools | None, value: int) -> NDArray[Any]:
    return column if there is None else np.where(there, column, column.dtype.type(value))
