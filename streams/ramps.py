"""Ramps: how much the power of each subject changed within seconds, over the same contributors at both ends. Pure.

A rack that falls silent is no ramp, nor is one that comes back: only sources count all of whose parts
report at both ends, and how many these are is part of the answer. Two versions of a facility are not
compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streams.condition import Bools, Ints
from streams.lists import MISSING
from streams.members import Members

SECOND = 1_000_000
SPANS_SECS = (1, 5, 30)


class Ramp(NamedTuple):
    """Hold, per subject, the change of power in mW (MISSING: nothing to compare) and of how many sources it is.

    `expected`: the sources that make up its power; `comparable`: those that report wholly at both ends.
    """

    change: Ints
    expected: Ints
    comparable: Ints


def ramp(members: Members, before: Ints, after: Ints) -> Ramp:
    """Return the change of each subject from one second to another; powers per source, MISSING where not whole."""
    width = len(members.subjects)
    is_both: Bools = (before != MISSING) & (after != MISSING)
    change = np.where(is_both, after - before, MISSING)
    counted = members.power.total(np.vstack([np.ones_like(before), is_both.astype(np.int64)]), width)
    return Ramp(members.power.sum(change[None, :], width)[0], counted[0], counted[1])


class RecentPower:
    """Remember what the sources of one facility version drew in the newest 31 seconds."""

    def __init__(self, members: Members) -> None:
        self.members = members
        self._by_second: dict[int, Ints] = {}

    def keep(self, seconds: Ints, powers: Ints) -> None:
        """Keep the powers [second, source] of whole sources, in place of what was said of these seconds before."""
        if not len(seconds):
            return
        self._by_second |= dict(zip(seconds.tolist(), powers, strict=True))
        oldest = max(self._by_second) - max(SPANS_SECS) * SECOND
        for second in [second for second in self._by_second if second < oldest]:
            del self._by_second[second]

    def ramps(self, second: int) -> dict[int, Ramp]:
        """Return, by the seconds between the ends, the ramps that end with the second that starts at `second`.

        A span at one of whose ends nothing is known, as of a second in which no source spoke, is left out.
        """
        after = self._by_second.get(second)
        if after is None:
            return {}
        ends = ((span, self._by_second.get(second - span * SECOND)) for span in SPANS_SECS)
        return {span: ramp(self.members, before, after) for span, before in ends if before is not None}
