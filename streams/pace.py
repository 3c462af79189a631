"""When a drain is worth what it costs: a second can close, or enough was held. Pure; the clock is a parameter.

Most of what a drain costs is a cost of calls, the same for one message as for hundreds, and most of what comes is
not waited for by anybody until its second closes (docs/decisions/0039).
"""

from __future__ import annotations


class Pace:
    """Hold what comes from `began` on (s), at most `hold_secs`; what somebody waits for at most `wait_secs`.

    So long takes the next fetch, which may bring what the other partitions need. Where most can tell something
    already, that is not worth their waiting.
    """

    def __init__(self, hold_secs: float, wait_secs: float, began: float) -> None:
        self._until = began + hold_secs
        self._wait_secs = wait_secs

    def is_due(self, ready: int, waiting: int, now: float) -> bool:
        """Tell whether to drain, where messages of `waiting` partitions came and `ready` of them can tell something."""
        if ready:
            self._until = now if 2 * ready > waiting else min(self._until, now + self._wait_secs)
        return now >= self._until
