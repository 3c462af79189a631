"""Whose query runs next: so many at a time, one of each person, and a queue with an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from schemas.errors import UnavailableError

AT_ONCE = 2
MOST_WAITING = 8
MOST_WAITING_OF_ONE = 4
PATIENCE_SECS = 30.0


class Turns:
    """Give turns in the order of asking, one at a time to each name: whoever asks much leaves a turn to the others."""

    def __init__(self, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING) -> None:
        self.running: Counter[str] = Counter()
        self._at_once = at_once
        self._most_waiting = most_waiting
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @property
    def queued(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Have a turn for the block.

        Raises UnavailableError where too many wait already, or no turn came within PATIENCE_SECS.
        """
        await self._wait(name)
        try:
            yield
        finally:
            self.running[name] -= 1
            self._admit()

    async def _wait(self, name: str) -> None:
        own = sum(waiting == name for waiting, _ in self._waiting)
        if len(self._waiting) >= self._most_waiting or own >= MOST_WAITING_OF_ONE:
            raise UnavailableError(
                f"{self.queued} queries wait already ({own} of yours); ask again in some seconds", retry_after_secs=5
            )
        place = (name, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        self._admit()
        try:
            await asyncio.wait_for(asyncio.shield(place[1]), PATIENCE_SECS)
        except BaseException as error:
            self._leave(place)
            if isinstance(error, TimeoutError):
                raise UnavailableError(
                    f"no turn within {PATIENCE_SECS:g} s: longer queries run; ask again later", retry_after_secs=10
                ) from error
            raise

    def _leave(self, place: tuple[str, asyncio.Future[None]]) -> None:
        """Give up a place in the queue, or the turn that came in the same moment."""
        if place in self._waiting:
            self._waiting.remove(place)
        else:
            self.running[place[0]] -= 1
            self._admit()

    def _admit(self) -> None:
        """Give the free turns to the first who have none."""
        for place in list(self._waiting):
            name, turn = place
            if self.running.total() >= self._at_once:
                return
            if self.running[name] == 0:
                self._waiting.remove(place)
                self.running[name] += 1
                turn.set_result(None)
