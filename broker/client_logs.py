"""aiokafka's log lines, at a rate that a person can read.

With a broker down every client logs three lines each 100 ms (traps.md 17); a filter on a parent logger
does not see its children's records, so each logger of aiokafka's gets it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

EVERY_SECS = 10.0

_silent: ContextVar[bool] = ContextVar("silent", default=False)


class Seldom(logging.Filter):
    """Let each kind of line (logger and template) through once in `every_secs`, with the count of those held back."""

    def __init__(self, every_secs: float = EVERY_SECS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_secs = every_secs
        self._clock = clock
        self._next: dict[tuple[str, str], float] = {}
        self._held_back: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record may be logged now."""
        if _silent.get():
            return False
        kind, now = (record.name, str(record.msg)), self._clock()
        if now < self._next.get(kind, 0.0):
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return False
        self._next[kind] = now + self._every_secs
        if held_back := self._held_back.pop(kind, 0):
            record.msg = f"{record.msg} ({held_back} more such lines in {self._every_secs:.0f} s)"
        return True


_seldom = Seldom()


def limit_rate() -> None:
    """Put the filter on every logger of aiokafka's; idempotent, call it after aiokafka is imported."""
    for name in ("aiokafka", *logging.root.manager.loggerDict):
        if name == "aiokafka" or name.startswith("aiokafka."):
            logging.getLogger(name).addFilter(_seldom)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Hold back all of aiokafka's lines of this task, where an error of ours says it better."""
    limit_rate()
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)
