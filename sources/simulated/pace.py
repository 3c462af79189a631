"""When a second of a simulation is due: on time, without drift, and none is dropped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.errors import ConfigurationError
from sources.publish import Publisher
from sources.simulated.campus import Campus

LAG_SECONDS = 0.2
"""A reading stamped within its second is not sent before it was measured."""
BEHIND_SECONDS = 1.0
"""From here on we say that we are behind."""


@dataclass
class Pace:
    """Turn second numbers into due times of the machine's clock.

    Second k after `start` is due at `begun + k / speed`, but never before the clock has reached it:
    at a speed over 1 a past is caught up with, and from there on every second takes its second.
    Times are seconds since the epoch.
    """

    start: int
    begun: float
    speed: float = 1.0
    _said_secs: float = field(default=0.0, init=False)

    def due(self, second: int) -> float:
        """Return when to send a second."""
        return max(self.begun + (second - self.start) / self.speed, second + LAG_SECONDS)

    def lateness(self, second: int, now: float) -> str | None:
        """Return a sentence where `second` is late by more than was last said, or back on time."""
        behind = now - self.due(second)
        if behind > max(BEHIND_SECONDS, 2 * self._said_secs):
            self._said_secs = behind
            return f"behind by {behind:.1f} s: every second is still sent, but the machine or Kafka is too slow"
        if self._said_secs and behind < 0.1:
            self._said_secs = 0.0
            return "on time again"
        return None


def first_second(now: float, speed: float, duration_secs: int | None) -> int:
    """Return where a simulation begins so that no reading is stamped ahead of the clock.

    At speed 1 that is now; at a higher speed the past: as long as it lasts, or one hour.
    Raises ConfigurationError for a speed under 1.
    """
    if speed < 1:
        raise ConfigurationError(f"--speed {speed:g}: allowed is 1 or more; a second cannot last longer than a second")
    if speed == 1:
        return int(now) + 1
    return int(now) - (duration_secs or 3600)


async def send_all(
    campus: Campus,
    publisher: Publisher,
    pace: Pace,
    *,
    duration_secs: int | None,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.time,
) -> int:
    """Send second after second, `duration_secs` of them or without end; return how many were sent."""
    second = pace.start
    while duration_secs is None or second < pace.start + duration_secs:
        readings = campus.second(second)
        await asyncio.sleep(max(0.0, pace.due(second) - clock()))
        if sentence := pace.lateness(second, clock()):
            say(sentence)
        await publisher.jobs(readings.jobs)
        await publisher.power(readings.power)
        await publisher.gpu(readings.gpu)
        await publisher.progress(readings.progress)
        second += 1
    await publisher.flush()
    return second - pace.start
