"""When a drain is worth what it costs: a second can close, or enough was held. Pure; the clock is a parameter.

Most of what a drain costs is a cost of calls, the same for one message as for hundreds, and most of what comes is
not waited for by anybody until its second closes (docs/decisions/0039).
"""

from __future__ import annotations


class Pace:
    """Hold what comes from `began` on (s), at most `hold_secs`; what somebody waits for no longer than a fetch takes.

    `wait_secs` is that. Where most of the partitions can tell something, the drain is due at once. Few that can are
    early where more are expected within a fetch, and wait for these; else they are late, and wait no longer.
    """

    def __init__(self, hold_secs: float, wait_secs: float, began: float) -> None:
        self._until = began + hold_secs
        self._wait_secs = wait_secs

    def is_due(self, ready: int, waiting: int, expected_in: float, now: float) -> bool:
        """Tell whether to drain: messages of `waiting` partitions came, and `ready` of them can tell something.

        `expected_in`: in how many seconds most of them are expected to.
        """
        if ready:
            is_early = 2 * ready <= waiting and 0 < expected_in <= self._wait_secs
            self._until = min(self._until, now + expected_in if is_early else now)
        return now >= self._until
