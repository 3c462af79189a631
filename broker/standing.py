"""Where a worker stands in the partitions that it reads, in seconds of Kafka's append time.

A partition that is taken in to its end has no lag. Elsewhere the lag is the age of the oldest message that
was not taken in. Where that one was not fetched yet it is bounded: it was appended after what was taken in
last, and after the worker was last seen at the log's end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from schemas.health import PartitionHealth

ASK_WITHIN_SECS = 2.0
log = logging.getLogger(__name__)

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""


class Stand(NamedTuple):
    """Say how far a partition is taken in: the next offset, and append times in UTC µs.

    `waiting` is that of the oldest message that was fetched and not taken in, `taken` that of the last one
    taken in; None where there is none.
    """

    position: int | None
    waiting: int | None = None
    taken: int | None = None


Stands = Callable[[], Mapping[Partition, Stand]]
"""Tell how far each partition is taken in that a worker has now."""

LogEnds = Callable[[Iterable[Partition]], Awaitable[Mapping[Partition, int]]]
"""Ask the broker where logs end."""


class Standing:
    """Tell the lag of each partition; remembers when each was last seen at its log's end."""

    def __init__(self, stands: Stands, log_ends: LogEnds) -> None:
        self._stands = stands
        self._log_ends = log_ends
        self._at_end: dict[Partition, int] = {}

    async def __call__(self) -> tuple[PartitionHealth, ...]:
        """Return where the worker stands now; without the ends of the logs where the broker does not tell them."""
        asked = list(self._stands())
        try:
            ends = dict(await asyncio.wait_for(self._log_ends(asked), ASK_WITHIN_SECS)) if asked else {}
        except Exception as error:  # the broker is away or the group rebalances
            log.info("the ends of the logs are not known: %s", error)
            ends = {}
        return self.at(ends, time.time_ns() // 1000)

    def at(self, ends: Mapping[Partition, int], now: int) -> tuple[PartitionHealth, ...]:
        """Return where the worker stands at `now` (UTC µs), given where the logs end."""
        stands = self._stands()
        self._at_end = {at: seen for at, seen in self._at_end.items() if at in stands}
        return tuple(self._one(at, stand, ends.get(at), now) for at, stand in sorted(stands.items()))

    def _one(self, at: Partition, stand: Stand, end: int | None, now: int) -> PartitionHealth:
        position = 0 if end == 0 else stand.position
        if end is None or position is None:
            return PartitionHealth(*at, position, end)
        if position >= end:
            self._at_end[at] = now
            return PartitionHealth(*at, position, end, 0.0)
        since = stand.waiting or max(stand.taken or 0, self._at_end.get(at, 0))
        return PartitionHealth(*at, position, end, max(0, now - since) / 1_000_000 if since else None)
