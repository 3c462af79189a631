"""What a worker logs: our own lines as they are, those of the Kafka clients only where trouble lasts.

With the broker away each client logs three lines every 100 ms (traps.md 17), and at every healthy start and
rebalance one or two. One line in ten seconds of a trouble that has lasted is enough to know.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

CLIENTS = ("aiokafka", "faust", "mode", "asyncio", "streams")
"""First words of their loggers' names; Faust logs for a subclass under the module of the subclass, ours."""
LASTING_SECS = 3.0
SAY_AGAIN_SECS = 10.0
OVER_AFTER_SECS = 15.0
"""More than the 10 s in which broker.client_logs lets each kind of line through once."""


class OnlyLasting(logging.Filter):
    """Pass a record of the Kafka clients where they have complained for a while, and one in ten seconds then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._began = self._last = self._said = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record of ours; of the clients' one in a while, as one line without a traceback."""
        if record.name.partition(".")[0] not in CLIENTS:
            return True
        now = self._clock()
        if now - self._last > OVER_AFTER_SECS:
            self._began = now
        self._last = now
        if now - self._began < LASTING_SECS or now - self._said < SAY_AGAIN_SECS:
            return False
        self._said = now
        since = f"for {now - self._began:.0f} s"
        record.msg, record.args = f"trouble with Kafka {since}, trying on: {record.getMessage()}", None
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def configure() -> None:
    """Log warnings to stderr, one line each; idempotent."""
    root = logging.getLogger()
    if any(isinstance(each, OnlyLasting) for handler in root.handlers for each in handler.filters):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("wattline: %(message)s"))
    handler.addFilter(OnlyLasting())
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
