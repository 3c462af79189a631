"""The clock of a source, as a parameter: how it tells time and how it waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Clock(NamedTuple):
    """Tell the time in seconds, and wait for it."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]

    @classmethod
    def wall(cls) -> Clock:
        """Return the machine's clock: seconds since 1970, UTC."""
        return cls(time.time, asyncio.sleep)

    @classmethod
    def steady(cls) -> Clock:
        """Return a clock that is never set back: for lengths of time."""
        return cls(time.monotonic, asyncio.sleep)
