"""The loop that does the duties, one at a time, each of them alone in its lake."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sinks.lake.locks import upkeep_lock
from sinks.upkeep.agenda import Duty, Turn, after_failure, after_success, due, pause_until_next

LOOK_EVERY_SECS = 0.25
LONGEST_LOOK_SECS = 60.0

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return the time of the machine's clock."""
    return datetime.now(UTC)


def keep(
    lake: Path,
    duties: Sequence[Duty],
    stopping: threading.Event,
    *,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = utc_now,
) -> None:
    """Do what is due in `lake` until `stopping`; `clock` says when a turn is, `now` is what a duty is told.

    A duty that fails says why and has its next turn later; the others go on.
    """
    turns: dict[str, Turn] = {}
    while not stopping.is_set():
        duty = due(duties, turns, clock())
        if duty is None:
            stopping.wait(min(LONGEST_LOOK_SECS, pause_until_next(duties, turns, clock())))
            continue
        with alone(lake, stopping) as is_alone:
            if is_alone:
                turns[duty.name] = _after(duty, lake, turns.get(duty.name), clock, now)


@contextmanager
def alone(lake: Path, stopping: threading.Event, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold a lake's upkeep alone for the block; False where `stopping` came first.

    `waiting` is called once where somebody else holds it: a duty of `wattline run`, or a verb of a person's.
    """
    lock = upkeep_lock(lake)
    try:
        if not (is_mine := lock.try_alone()):
            waiting()
        while not is_mine and not stopping.wait(LOOK_EVERY_SECS):
            is_mine = lock.try_alone()
        yield is_mine
    finally:
        lock.release()


def _after(duty: Duty, lake: Path, turn: Turn | None, clock: Callable[[], float], now: Callable[[], datetime]) -> Turn:
    """Do a duty and return its next turn."""
    try:
        for sentence in duty.act(lake, now()):
            log.info("%s: %s", duty.name, sentence)
    except Exception as error:  # whatever it is, the other duties go on
        after = after_failure(duty, turn, clock())
        log.error(
            "%s failed: %s: %s; next try in %.0f s",
            duty.name,
            type(error).__name__,
            error,
            after.at - clock(),
            exc_info=error if after.failures == 1 else None,
        )
        return after
    return after_success(duty, clock())
