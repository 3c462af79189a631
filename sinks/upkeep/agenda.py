"""Which duty's turn it is: pure, apart from the loop that does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

FIRST_PAUSE_SECS = 30.0
LONGEST_PAUSE_SECS = 3_600.0

Act = Callable[[Path, datetime], Iterable[str]]
"""Do a duty in a lake, at a time of UTC, and say in a sentence each thing that was done; nothing done, nothing said."""


class Duty(NamedTuple):
    """Name what is done in a lake every so often; it ends by itself, and a kill at any moment does no harm."""

    name: str
    every_secs: float
    act: Act


class Turn(NamedTuple):
    """Say when a duty is due again, and how often it failed since it last did not."""

    at: float
    failures: int = 0


def due(duties: Sequence[Duty], turns: Mapping[str, Turn], now: float) -> Duty | None:
    """Return the duty that has been due for longest; one that never had a turn comes first. None while none is due."""
    at = {duty.name: turns[duty.name].at if duty.name in turns else float("-inf") for duty in duties}
    return min((duty for duty in duties if at[duty.name] <= now), key=lambda duty: at[duty.name], default=None)


def after_success(duty: Duty, now: float) -> Turn:
    """Return the next turn of a duty that was done."""
    return Turn(now + duty.every_secs)


def after_failure(duty: Duty, turn: Turn | None, now: float) -> Turn:
    """Return the next turn of a duty that failed: soon at first, later each time, at most an hour or its own time."""
    failures = turn.failures + 1 if turn else 1
    pause = min(FIRST_PAUSE_SECS * 2.0 ** min(failures - 1, 30), max(LONGEST_PAUSE_SECS, duty.every_secs))
    return Turn(now + pause, failures)


def pause_until_next(duties: Sequence[Duty], turns: Mapping[str, Turn], now: float) -> float:
    """Return the seconds until the next duty is due; 0 where one is."""
    return max(0.0, min((turns[duty.name].at if duty.name in turns else now for duty in duties), default=now) - now)
