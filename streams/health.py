"""What a worker of the streams says of itself: where it stands in each partition, by Kafka's append time.

A partition that is taken in to its end has no lag. Elsewhere the lag is the age of the oldest message that
was not taken in. Where that one was not fetched yet it is bounded: it was appended after what was taken in
last, and after the worker was last seen at the log's end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from schemas.health import PartitionHealth
from schemas.message import Message
from streams.reading import Partition, Reading

ASK_WITHIN_SECS = 2.0
log = logging.getLogger(__name__)

LogEnds = Callable[[Iterable[Partition]], Awaitable[Mapping[Partition, int]]]
"""Ask the broker where logs end."""


class Standing:
    """Keep what is needed to tell the lag of each partition; times are UTC µs."""

    def __init__(self, reading: Reading, taken: Mapping[Partition, tuple[int, int]], log_ends: LogEnds) -> None:
        self._reading = reading
        self._taken = taken
        self._log_ends = log_ends
        self._at_end: dict[Partition, int] = {}

    async def __call__(self) -> tuple[PartitionHealth, ...]:
        """Return where this worker stands now; without the ends of the logs where the broker does not tell them."""
        assigned = sorted(self._reading.assigned)
        try:
            ends = dict(await asyncio.wait_for(self._log_ends(assigned), ASK_WITHIN_SECS)) if assigned else {}
        except Exception as error:  # the broker is away or the group rebalances
            log.info("the ends of the logs are not known: %s", error)
            ends = {}
        return self.at(ends, time.time_ns() // 1000)

    def at(self, ends: Mapping[Partition, int], now: int) -> tuple[PartitionHealth, ...]:
        """Return where this worker stands at `now`, given where the logs end."""
        oldest: dict[Partition, Message] = {}
        for message in self._reading.pending:
            oldest.setdefault((message.topic, message.partition), message)
        self._at_end = {at: seen for at, seen in self._at_end.items() if at in self._reading.assigned}
        return tuple(self._one(at, oldest.get(at), ends.get(at), now) for at in sorted(self._reading.assigned))

    def _one(self, at: Partition, waiting: Message | None, end: int | None, now: int) -> PartitionHealth:
        taken = self._taken.get(at)
        position = self._position(at, waiting, taken)
        if end is None or position is None:
            return PartitionHealth(*at, position, end)
        if position >= end:
            self._at_end[at] = now
            return PartitionHealth(*at, position, end, 0.0)
        since = waiting.appended if waiting else max(taken[1] if taken else 0, self._at_end.get(at, 0))
        return PartitionHealth(*at, position, end, max(0, now - since) / 1_000_000 if since else None)

    def _position(self, at: Partition, waiting: Message | None, taken: tuple[int, int] | None) -> int | None:
        """Return the next offset to be taken in; what is fetched and waits was not."""
        known = waiting.offset if waiting else self._reading.next.get(at)
        return known if known is not None else taken and taken[0] + 1
