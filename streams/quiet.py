"""What a worker logs: our own lines as they are, those of the Kafka clients one in ten seconds.

With the broker away each client logs three lines every 100 ms (traps.md 17); one is enough to know.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

CLIENTS = ("aiokafka", "faust", "mode", "asyncio")
SAY_AGAIN_SECS = 10.0


class OneInAWhile(logging.Filter):
    """Pass one record of the Kafka clients in `SAY_AGAIN_SECS`, with the number of those left out."""

    def __init__(self, every_secs: float = SAY_AGAIN_SECS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_secs = every_secs
        self._clock = clock
        self._said = float("-inf")
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record of ours; of the clients' one in a while, said as one line."""
        if record.name.partition(".")[0] not in CLIENTS:
            return True
        if self._clock() - self._said < self._every_secs:
            self._left_out += 1
            return False
        more = f" (and {self._left_out} more lines of this kind)" if self._left_out else ""
        record.msg, record.args = f"the Kafka client says, and goes on trying: {record.getMessage()}{more}", None
        record.exc_info = record.exc_text = record.stack_info = None
        self._said, self._left_out = self._clock(), 0
        return True


def configure() -> None:
    """Log warnings to stderr, one line each; idempotent."""
    root = logging.getLogger()
    if any(isinstance(each, OneInAWhile) for handler in root.handlers for each in handler.filters):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("wattline: %(message)s"))
    handler.addFilter(OneInAWhile())
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
