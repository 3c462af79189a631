"""Health: what a worker counts and measures of itself, and the task that says it on `health.v1`.

It goes its own way beside the worker's: with a producer of its own, one record at a time, and whatever goes
wrong with it is only that nothing is heard, which is what people then see.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Protocol

from broker.producer import Producer
from schemas.health import HEADERS, TOPIC, Health, LakeHealth, PartitionHealth, Totals, encode_health, slot_key
from schemas.message import Message

REPORT_EVERY_SECS = 5.0
LOOK_EVERY_SECS = 0.1
TRY_AGAIN_SECS = 10.0
END_WITHIN_SECS = 1.0

_STATM = Path("/proc/self/statm")
log = logging.getLogger(__name__)


class Unlisted(Protocol):
    """Know who reports and is in no facility."""

    rows: int

    def names(self) -> tuple[str, ...]:
        """Return who was heard lately."""


class Counted:
    """Count what a worker takes in; read by the reporter, never reset.

    `taken` is the offset and the append time of the last message of each partition that was taken in;
    `open_windows` and `too_late` are asked for when a record is made.
    """

    def __init__(self) -> None:
        self.totals: dict[str, Totals] = defaultdict(Totals)
        self.taken: dict[tuple[str, int], tuple[int, int]] = {}
        self.open_windows: Callable[[], int | None] = lambda: None
        self.too_late: Callable[[], int] = lambda: 0
        self.unregistered: Unlisted | None = None
        self.lake: Callable[[], LakeHealth | None] = lambda: None

    def messages(self, messages: Iterable[Message]) -> None:
        """Count messages that were taken in, in log order by partition."""
        for message in messages:
            totals = self.totals[message.topic]
            totals.messages += 1
            totals.bytes += len(message.value or b"")
            self.taken[message.topic, message.partition] = message.offset, message.appended

    def count_too_late(self, ask: Callable[[], int]) -> None:
        """Take `ask` as the count of rows that came too late; it may begin anew, what is told never falls."""
        before = last = 0

        def rising() -> int:
            nonlocal before, last
            now = ask()
            before, last = before + (last if now < last else 0), now
            return before + now

        self.too_late = rising

    def rows(self, topic: str, count: int) -> None:
        """Count rows that were read, refused ones left out."""
        self.totals[topic].rows += count

    def refused(self, reasons: Iterable[tuple[str, str]]) -> None:
        """Count refusals, given as (topic, reason)."""
        for topic, reason in reasons:
            refused = self.totals[topic].refused
            refused[reason] = refused.get(reason, 0) + 1


class LoopDelay:
    """Measure for how long the event loop was held up: how late a short sleep returns."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._longest = 0.0

    async def watch(self) -> None:
        """Look again and again; ends only by being cancelled."""
        while True:
            began = self._clock()
            await asyncio.sleep(LOOK_EVERY_SECS)
            self._longest = max(self._longest, self._clock() - began - LOOK_EVERY_SECS)

    def take(self) -> float:
        """Return the longest delay since the last call, in seconds."""
        longest, self._longest = self._longest, 0.0
        return longest


Standing = Callable[[], Awaitable[tuple[PartitionHealth, ...]]]
"""Ask a worker where it stands in each partition that it has."""


async def reads_no_partition() -> tuple[PartitionHealth, ...]:
    """Stand for a worker that follows topics without a group: what it misses shows in its answers."""
    return ()


class Reporter:
    """Say on `health.v1` every few seconds how a worker does, from `start` to `stop`."""

    def __init__(
        self,
        bootstrap: str,
        app: str,
        slot: int,
        counted: Counted,
        standing: Standing,
        *,
        every_secs: float = REPORT_EVERY_SECS,
    ) -> None:
        self._bootstrap = bootstrap
        self._app = app
        self._slot = slot
        self._counted = counted
        self._standing = standing
        self._every_secs = every_secs
        self._started = datetime.now(UTC)
        self._delay = LoopDelay()
        self._said = ""
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to report, on the running event loop; idempotent."""
        if self._watching is not None:
            return
        self._stopping = asyncio.Event()
        self._watching = asyncio.create_task(self._delay.watch())
        self._reporting = asyncio.create_task(self._report())

    async def stop(self) -> None:
        """Report no more, and take the slot's record away: the worker ends because it was asked to."""
        if self._watching is None:
            return
        self._watching.cancel()
        self._stopping.set()
        await asyncio.wait([self._reporting], timeout=END_WITHIN_SECS)
        self._reporting.cancel()

    async def health(self) -> Health:
        """Return the record of this moment."""
        partitions, unlisted = await self._standing(), self._counted.unregistered
        return Health(
            app=self._app,
            slot=self._slot,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=_version(),
            started=self._started,
            time=datetime.now(UTC),
            every_secs=self._every_secs,
            totals=self._counted.totals,
            too_late=self._counted.too_late(),
            loop_delay_seconds=round(self._delay.take(), 6),
            resident_bytes=resident_bytes(),
            cpu_seconds=round(time.process_time(), 3),
            open_windows=self._counted.open_windows(),
            unregistered_rows=unlisted.rows if unlisted else 0,
            unregistered=unlisted.names() if unlisted else (),
            partitions=partitions,
            lake=self._counted.lake(),
        )

    async def _report(self) -> None:
        while not self._stopping.is_set():
            try:
                async with Producer(self._bootstrap, alarm=log.info) as producer:
                    await self._report_through(producer)
            except Exception as error:  # whatever it is, the worker itself goes on
                self._say_once(f"how {self._app}-{self._slot} does is not told on {TOPIC}: {error}")
            await self._pause(TRY_AGAIN_SECS)

    async def _report_through(self, producer: Producer) -> None:
        while not self._stopping.is_set():
            if not producer.waiting:  # else the broker is away, and one record is enough to be late
                health = await self.health()
                await producer.send(TOPIC, encode_health(health), health.key, HEADERS)
            await self._pause(self._every_secs)
        await (await producer.send(TOPIC, None, slot_key(self._app, self._slot)))

    async def _pause(self, secs: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), secs)

    def _say_once(self, sentence: str) -> None:
        if sentence != self._said:
            log.warning(sentence)
        self._said = sentence


def resident_bytes() -> int:
    """Return the memory that this process holds; where the system does not say, the most it ever held."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


@cache
def _version() -> str:
    try:
        return metadata.version("wattline")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "unreleased"
