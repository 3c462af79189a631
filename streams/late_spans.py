"""The stretches of seconds whose windows lack something that only the lake can give. Pure."""

from __future__ import annotations

import numpy as np

from streams.condition import Ints

GAP_SECS = 60
"""Stretches no further apart than this are one: a recomputation makes whole minutes anew anyway."""
MOST = 1_000


class LateSpans:
    """Gather seconds as few stretches `[first, end)`; of more than MOST the newest are kept and the others counted."""

    def __init__(self) -> None:
        self._spans: Ints = np.zeros((0, 2), dtype=np.int64)
        self.dropped = 0

    def __bool__(self) -> bool:
        return len(self._spans) > 0

    def note(self, first: Ints, end: Ints) -> None:
        """Note the stretches from each `first` to each `end`, in whole seconds."""
        if not len(first):
            return
        spans = np.concatenate((self._spans, np.stack((first, end), axis=1)))
        spans = spans[np.argsort(spans[:, 0], kind="stable")]
        reached = np.maximum.accumulate(spans[:, 1])
        starts = np.flatnonzero(np.append(True, spans[1:, 0] > reached[:-1] + GAP_SECS))
        joined = np.stack((spans[starts, 0], np.maximum.reduceat(spans[:, 1], starts)), axis=1)
        self.dropped += max(0, len(joined) - MOST)
        self._spans = joined[-MOST:]

    def take(self) -> list[tuple[int, int]]:
        """Return the stretches, oldest first, and forget them."""
        taken, self._spans = self._spans, self._spans[:0]
        return [(first, end) for first, end in taken.tolist()]
