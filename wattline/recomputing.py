"""The part `history`: follows requests, waits until the lake holds what they need, and sends recomputed windows.

A stretch is recomputed when its minutes are over and can be revised by nothing live any more, and the lake
has read all that Kafka had then: a poorer recomputation would win over richer live windows by its generation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from broker.consumer import follow, read_to_end
from broker.health import Counted, Reporter, reads_no_partition
from broker.producer import Producer
from history.coverage import NEEDED, IncompleteError, newest_event, read_positions, require_complete
from history.from_lake import recomputed
from history.recompute import Span
from history.requests import Requests, next_slice
from schemas.admission import Clock
from schemas.errors import ConfigurationError
from schemas.recomputation import HEADERS, TOPIC, Answered, Asked, encode
from schemas.time import moment
from schemas.topics import BY_NAME
from sinks.lake.log_reader import read_ends
from sinks.lake.positions import Source
from streams import windows_message

SETTLED_SECS = 15
"""So long after its end nothing live revises a minute any more: the horizon of 10 s, and what is under way."""
LOOK_EVERY_SECS = 1.0
TRY_AGAIN_SECS = 60.0
"""So long a gap may be a refusal that the lake has not read yet; then it is one for good."""
SAY_AGAIN_SECS = 600.0
NEEDED_SOURCES = [Source(topic, number) for topic in NEEDED.values() for number in range(BY_NAME[topic].partitions)]

log = logging.getLogger("wattline.history")


@dataclass
class Recomputing:
    """Answer the requests of one Kafka from one lake; `answer` does what can be done now."""

    bootstrap: str
    lake: Path
    clock: Clock
    producer: Producer
    requests: Requests = field(default_factory=Requests)
    _ends: dict[int, dict[Source, int]] = field(default_factory=dict)
    _seen: dict[int, float] = field(default_factory=dict)
    _failing_since: dict[Span, float] = field(default_factory=dict)
    _is_oldests_turn: bool = False
    _said_at: float = field(default_factory=time.monotonic)

    async def hear(self) -> None:
        """Take requests as they come."""
        async for message in follow(self.bootstrap, TOPIC, "earliest"):
            self.requests.take(message)

    async def keep_answering(self) -> None:
        """Answer what can be answered, again and again; ends only by being cancelled."""
        while True:
            await self.answer()
            await asyncio.sleep(LOOK_EVERY_SECS)

    async def answer(self) -> int:
        """Answer what can be answered now, slice by slice, the short first; return how many requests that ended."""
        before = set(self.requests.open)
        while await self._answer_next():
            pass
        return len(before - set(self.requests.open))

    async def _answer_next(self) -> bool:
        """Answer the first slice of one stretch; False where there is none that can be answered."""
        due = await self._due()
        if not due:
            self._say_that_the_lake_is_behind()
            return False
        if (chosen := self._chosen(due)) is None:
            return False
        site, span = chosen
        told = msgspec.structs.replace(await self._answer(site, span), answers=max(due) + 1)
        await self.producer.send(TOPIC, encode(told), (site or "").encode(), HEADERS)
        await self.producer.flush()
        self.requests.answered(told)
        for offset in due.keys() - self.requests.open.keys():
            self._ends.pop(offset, None)
            self._seen.pop(offset, None)
        return True

    def _chosen(self, due: Mapping[int, Asked]) -> tuple[str | None, Span] | None:
        """Return what is recomputed next, None where all of it is to be tried again later."""
        self._is_oldests_turn, left = not self._is_oldests_turn, list(due.values())
        while left:
            site, span = next_slice(left, oldest=not self._is_oldests_turn)
            if not self._is_to_be_tried_again(span):
                return site, span
            left = [each for each in left if not span.first <= each.first_second < span.end]
        return None

    async def _due(self) -> dict[int, Asked]:
        """Return the requests that can be answered now, the oldest first."""
        requests = sorted(self.requests.open.items())
        positions = read_positions(self.lake) if requests and self.lake.is_dir() else {}
        return {offset: asked for offset, asked in requests if await self._is_due(offset, asked, positions)}

    async def _is_due(self, offset: int, asked: Asked, positions: Mapping[Source, int]) -> bool:
        self._seen.setdefault(offset, time.monotonic())
        end = Span(asked.first_second, asked.end_second).minutes.end
        if offset not in self._ends:
            if self.clock == "wall" and not is_settled(end):
                return False
            self._ends[offset] = await read_ends(self.bootstrap, NEEDED_SOURCES)
        needed = self._ends[offset] | {Source(asked.topic, asked.partition): asked.offset}
        if not _reach(positions, needed):
            return False
        return self.clock == "wall" or await self._has_gone_on(offset, end)

    async def _has_gone_on(self, offset: int, end: int) -> bool:
        """Tell, of recorded data, whether its time has passed a minute's end and the horizon, or stands still."""
        if newest_event(self.lake) >= end + SETTLED_SECS * 1_000_000:
            return True
        if time.monotonic() - self._seen[offset] < SETTLED_SECS:
            return False
        ends, before = await read_ends(self.bootstrap, NEEDED_SOURCES), self._ends[offset]
        self._ends[offset], self._seen[offset] = ends, time.monotonic()
        return ends == before

    def _say_that_the_lake_is_behind(self) -> None:
        """Say now and then that requests wait, which they do for as long as it takes."""
        waiting = [offset for offset in self.requests.open if offset in self._ends]
        if not waiting or time.monotonic() - max(self._said_at, self._seen[min(waiting)]) < SAY_AGAIN_SECS:
            return
        self._said_at = time.monotonic()
        log.warning(
            "%s requests wait until %s has read what Kafka has: is its writer running?", len(waiting), self.lake
        )

    def _is_to_be_tried_again(self, span: Span) -> bool:
        """Tell whether a gap may still be a refusal that the lake has not read; then nothing is sent yet."""
        try:
            require_complete(self.lake, span, self.clock)
        except IncompleteError:
            now = time.monotonic()
            if now - self._failing_since.setdefault(span, now) < TRY_AGAIN_SECS:
                return True
        self._failing_since.pop(span, None)
        return False

    async def _answer(self, site: str | None, span: Span) -> Answered:
        """Recompute and send one stretch."""
        try:
            generation, sent = await send(self.producer, self.lake, span, self.clock, site)
        except IncompleteError as error:
            log.warning("%s stays as it is for good: %s", words(span), error)
            return Answered(site, span.first, span.end, 0, None, "retention", str(error))
        except ConfigurationError as error:
            log.warning("%s is not recomputed: %s", words(span), error)
            return Answered(site, span.first, span.end, 0, None, None, str(error))
        log.info("%s recomputed: %s windows of generation %s", words(span), sent, generation)
        return Answered(site, span.first, span.end, 0, generation)


def is_settled(end: int) -> bool:
    """Tell whether nothing live revises the minute that ends at a time, UTC µs, any more."""
    return time.time_ns() // 1000 >= end + SETTLED_SECS * 1_000_000


def holds(lake: Path, ends: Mapping[Source, int]) -> bool:
    """Tell whether a lake has read partitions up to these offsets, not included."""
    return _reach(read_positions(lake), ends)


def _reach(positions: Mapping[Source, int], ends: Mapping[Source, int]) -> bool:
    return all(positions.get(source, 0) >= end for source, end in ends.items())


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def send(producer: Producer, lake: Path, span: Span, clock: Clock, site: str | None) -> tuple[int, int]:
    """Recompute a stretch and send its windows; return their generation and how many there are."""
    generation = sent = 0
    for minute in recomputed(lake, span, clock, site):
        for windows in minute.windows:
            generation, sent = int(windows.rows["version_generation"][0]), sent + len(windows.rows)
            await producer.send(windows_message.TOPIC, *windows_message.message_of(windows))
        for each in minute.minutes:
            sent += len(each.rows) if each.table == "windows" else 0
            topic = windows_message.TOPIC if each.table == "windows" else windows_message.HISTOGRAMS_TOPIC
            await producer.send(topic, *windows_message.message_of_minute(each))
        await producer.flush()
    return generation, sent


def words(span: Span) -> str:
    """Return a stretch for a person."""
    return f"{moment(span.first).isoformat()} to {moment(span.end).isoformat()}"


def run(bootstrap: str, lake: Path, clock: Clock, slot: int = 0) -> None:
    """Answer requests until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.nice(10)  # what is recomputed can wait, what is live cannot
    asyncio.run(_run(bootstrap, lake, clock, slot))


async def _run(bootstrap: str, lake: Path, clock: Clock, slot: int) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with Producer(bootstrap) as producer:
        recomputing = Recomputing(bootstrap, lake, clock, producer)
        for message in await read_to_end(bootstrap, TOPIC):
            recomputing.requests.take(message)
        # What was begun needs no end: it is still asked for.
        tasks = [asyncio.create_task(each) for each in (recomputing.hear(), recomputing.keep_answering())]
        reporter = Reporter(bootstrap, "history", slot, Counted(), reads_no_partition)
        reporter.start()
        ended = asyncio.create_task(stopping.wait())
        await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            await reporter.stop()
        for task in tasks:
            await _cancelled(task)
