"""The roll-up worker: GPU and meter readings from Kafka, partials and refusals back. Thin: see roll_up.py."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from itertools import groupby
from operator import attrgetter
from statistics import median
from typing import NoReturn

import polars as pl

from broker.facility import TOPIC as FACILITY_TOPIC
from broker.facility_log import facility_log
from broker.job_log import TOPIC as JOBS_TOPIC
from broker.job_log import job_log
from broker.producer import Producer
from schemas import job_partial, recomputation
from schemas.admission import Clock
from schemas.blocks import BYTES_IN_CACHE, in_blocks
from schemas.job import decode_jobs
from schemas.message import Message
from schemas.partial import Partial, encode
from streams import meter_intake, refusals
from streams.closing import SECOND
from streams.engine import ROLL_UP, Engine, run
from streams.gpu_intake import take_in
from streams.in_force import InForce
from streams.job_cells import messages_of
from streams.reading import Partition
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.stage import Place
from streams.stream import IDLE_AFTER_MICROSECONDS, ROWS_A_PARTIAL
from streams.unregistered import Unregistered

PARTIALS_TOPIC = "windows.rack.v1"
SAY_AGAIN_SECS = 60.0
ASK_EVERY_SECS = 10.0
DUE_AFTER_SECS = 0.1
"""How long after half of the partitions can close a second a fetch brings nearly all of them."""
METER_BYTES_A_BLOCK = 4_000_000
"""Some seconds of a campus: each feed costs a sort of all that is kept."""
log = logging.getLogger("wattline.streams")


class RollUpStage:
    """Decode, admit, roll up, send, and only then let go of what was read.

    In a second group it says the same of the same readings; refusals are the first group's.
    """

    topics = (GPU_TOPIC, METER_TOPIC)
    writes = (PARTIALS_TOPIC, refusals.TOPIC, recomputation.TOPIC, JOBS_TOPIC, FACILITY_TOPIC)

    def __init__(self, bootstrap: str, clock: Clock, is_first: bool = True) -> None:
        self._bootstrap = bootstrap
        self._is_first = is_first
        self._clock: Clock = clock
        self._said_too_late = 0
        self._said_at = time.monotonic()
        self._asked_at = -ASK_EVERY_SECS
        self._appended: dict[Partition, int] = {}
        self._closed = 0

    async def open(self, engine: Engine) -> None:
        """Read the facility and connect the producer."""
        self._engine = engine
        self._open = AsyncExitStack()
        self._facility = await self._open.enter_async_context(facility_log(self._bootstrap, self._clock))
        self._site = self._facility.timeline.newest.parts[0].site.encode()
        self._roll_up = RollUp(InForce.of(self._facility.timeline), clock=self._clock)
        self._job_log = await self._open.enter_async_context(job_log(self._bootstrap))
        self._hear_jobs(await self._job_log.catch_up())
        self._unregistered = engine.counted.unregistered = Unregistered()
        engine.counted.open_windows = lambda: self._roll_up.open_seconds
        engine.counted.count_too_late(lambda: sum(self._roll_up.too_late().values()))
        self._producer = await self._open.enter_async_context(Producer(self._bootstrap))

    async def assigned(self, committed: Mapping[Partition, Place | None]) -> Mapping[Partition, int]:
        """Begin each partition at Kafka's place, with the floor that was noted beside it."""
        for partition, place in committed.items():
            self._roll_up.assign(partition, place.note if place else "", _now())
        return {}

    async def dropped(self, partition: Partition, offset: int | None) -> None:
        """Forget a partition; begin it anew where its log goes on after a loss."""
        self._appended.pop(partition, None)
        if offset is None:
            self._roll_up.forget(partition)
        else:
            self._roll_up.lose(partition, _now())

    def ready(self, newest: Mapping[Partition, int]) -> int:
        """Return of how many partitions a second closes, if what is appended now is as old then as what came last.

        In event time the append times say nothing of it: whatever came is taken.
        """
        if self._clock == "event":
            return len(newest)
        return sum(came >= self._closes_at(at) for at, came in newest.items())

    def due_at(self) -> float:
        """Return when half of the partitions that say anything can close their next second, and a little more.

        Where one could have closed it already, its next message may: at any time.
        """
        newest = max(self._appended.values(), default=0)
        closing = [
            self._closes_at(at) for at, came in self._appended.items() if newest - came < IDLE_AFTER_MICROSECONDS
        ]
        if self._clock == "event" or not closing or newest - SECOND < min(closing) <= newest:
            return 0.0
        return median(closing) / SECOND + DUE_AFTER_SECS

    def _closes_at(self, partition: Partition) -> int:
        return self._appended.get(partition, 0) + self._roll_up.closes_in(partition)

    async def drain(self, messages: list[Message]) -> Mapping[Partition, Place]:
        """Roll up what came, send it, and return the places once all of it is acknowledged."""
        if await self._facility.hear(max((message.appended for message in messages), default=0)):
            self._roll_up.follow(self._facility.timeline)
        self._hear_jobs(await self._job_log.hear())
        await self._send(())
        self._appended |= {(message.topic, message.partition): message.appended for message in messages}
        for topic, of_topic in groupby(sorted(messages, key=attrgetter("topic")), attrgetter("topic")):
            await self._take(topic, sorted(of_topic, key=attrgetter("partition", "offset")))
        await self._send(self._roll_up.idle(self._engine.at_log_end(), _now()))
        await self._producer.flush()
        if self._closed == self._roll_up.closed:  # else other partitions may close the same second in a moment
            await self._tell_pieces()
        self._closed = self._roll_up.closed
        self._tell_too_late()
        if self._roll_up.asking:
            await self._ask()
        waiting = self._roll_up.asking  # a restart must read again what it has to ask for
        return {at: Place(*place) for at, place in self._roll_up.places().items() if at not in waiting}

    async def close(self) -> None:
        """Disconnect."""
        await self._open.aclose()

    async def _take(self, topic: str, messages: list[Message]) -> None:
        """Take messages block by block; between two the loop turns, or a long backlog would look like a wedge."""
        is_gpu = topic == GPU_TOPIC
        take = self._take_gpus if is_gpu else self._take_meters
        for block in in_blocks(messages, BYTES_IN_CACHE if is_gpu else METER_BYTES_A_BLOCK):
            await take(block, {message.partition: message.offset + 1 for message in block})
            await asyncio.sleep(0)

    async def _take_meters(self, messages: list[Message], next_offsets: dict[int, int]) -> None:
        timeline, in_force = self._facility.timeline, self._roll_up.in_force
        log, refused = meter_intake.take_in(messages, timeline, in_force, self._clock)
        self._engine.counted.rows(METER_TOPIC, len(log.time))
        self._unregistered.hear_meters(messages, log, in_force, timeline.places)
        await self._send(self._roll_up.feed_meters(log, next_offsets, _now()))
        if len(refused):
            await self._refuse(refused)

    async def _take_gpus(self, messages: list[Message], next_offsets: dict[int, int]) -> None:
        intake, refused = take_in(messages, self._facility.timeline, self._roll_up.in_force, self._clock)
        self._engine.counted.rows(GPU_TOPIC, len(intake.rows.second))
        self._unregistered.hear_gpus(messages, intake.rows, self._roll_up.in_force, self._facility.timeline.places)
        await self._send(self._roll_up.feed_gpu(intake, next_offsets, _now()))
        if len(refused):
            await self._refuse(refused)

    def _hear_jobs(self, messages: list[Message]) -> None:
        """Take records of jobs; what is no record the evaluator refuses."""
        if messages:
            records = decode_jobs(messages, self._facility.timeline.places).records
            self._roll_up.hear(records, self._job_log.next_offset)

    async def _send(self, partials: Iterable[Partial]) -> None:
        """Send partials, and before them the seconds of jobs, so that a second that closes has them."""
        if (jobs := self._roll_up.job_rows()) is not None:
            for rows in messages_of(jobs, ROWS_A_PARTIAL):
                value, headers = job_partial.encode(rows)
                await self._producer.send(PARTIALS_TOPIC, value, self._site, headers)
        for partial in partials:
            value, headers = encode(partial)
            await self._producer.send(PARTIALS_TOPIC, value, self._site, headers)

    async def _tell_pieces(self) -> None:
        """Send the pieces of minutes once the seconds are out; the loop turns between two partitions."""
        for partials in self._roll_up.pieces():
            await self._send(partials)
            await asyncio.sleep(0)
        await self._producer.flush()

    async def _refuse(self, refused: pl.DataFrame) -> None:
        self._engine.counted.refused(refused.select("topic", "reason").iter_rows())
        for value, key, headers in refusals.refusal_messages(refused) if self._is_first else ():
            await self._producer.send(refusals.TOPIC, value, key, headers)

    async def _ask(self) -> None:
        """Ask for what came too late or was gone to be recomputed, not more often than every ten seconds."""
        if time.monotonic() - self._asked_at < ASK_EVERY_SECS:
            return
        self._asked_at = time.monotonic()
        for asked in self._roll_up.asks():
            value = recomputation.encode(asked)
            await self._producer.send(recomputation.TOPIC, value, self._site, recomputation.HEADERS)
        await self._producer.flush()

    def _tell_too_late(self) -> None:
        if time.monotonic() - self._said_at < SAY_AGAIN_SECS:
            return
        self._said_at = time.monotonic()
        total = sum(self._roll_up.too_late().values())
        if total > self._said_too_late:
            log.warning(
                "%s readings came later than the horizon since the start: windows are recomputed from the lake", total
            )
            self._said_too_late = total


def _now() -> int:
    return time.time_ns() // 1000


def run_roll_up(bootstrap: str, *, slot: int, clock: Clock, group: str = "") -> NoReturn:
    """Run the roll-up worker of one slot of a group ("" = the first); ends the process (streams.engine.run)."""
    run(RollUpStage(bootstrap, clock, is_first=not group), ROLL_UP.of(group), bootstrap=bootstrap, slot=slot)
