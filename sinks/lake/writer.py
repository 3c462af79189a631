"""The lake writer: a consumer group of its own that turns the log into durable, committed Parquet.

The tables own the offsets; what Kafka's group stores is advice for people who watch lag. The loop does
one thing at a time: after each assignment it asks the tables where to go on and the logs whether they
still go on there, then it gathers messages, and every `flush_secs` (or `flush_bytes`) it writes them.
Whatever goes wrong on the way drops what was gathered and asks the tables again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from broker import batches, client_logs
from broker.admin import require_topics
from broker.facility import read_timeline
from schemas.admission import Clock
from schemas.errors import ConfigurationError, DataLossError, UnavailableError
from schemas.timeline import Timeline
from sinks.lake.assignment import COMPACTED, Assignment, require_no_hole, where_to_go_on
from sinks.lake.durable_so_far import DurableSoFar
from sinks.lake.flush import Tables
from sinks.lake.gathered import GapError, Gathered
from sinks.lake.ledger import PositionMovedError
from sinks.lake.locks import group_of
from sinks.lake.log_reader import stop_consumer
from sinks.lake.parquet import Step
from sinks.lake.positions import Source
from sinks.lake.start import place_in_lake
from sinks.lake.tables import TOPICS

log = logging.getLogger(__name__)

_POLL_MS = 500
# Fetched batches are decompressed as their records are taken, so this bounds memory in a backlog.
_POLL_RECORDS = 200
_FETCH_MIN_BYTES = 4_194_304
_FETCH_BYTES = 8_388_608
_LONGEST_WAIT_SECS = 60.0
_ADVICE_SECS = 5.0
_ASK_SECS = 2.0
_FACILITY = TopicPartition("facility.v1", 0)


class WriterSettings(NamedTuple):
    """Say how a writer works: which slot it holds, and when it flushes."""

    slot: int = 0
    clock: Clock = "wall"
    flush_secs: float = 10.0
    flush_bytes: int = 100_663_296
    session_timeout_secs: float = 10.0
    fetch_wait_ms: int = 1_000


class Writer:
    """Write the topics of one Kafka cluster into the tables of one lake, exactly once."""

    def __init__(
        self, bootstrap: str, lake: Path, settings: WriterSettings | None = None, step: Step = lambda _: None
    ) -> None:
        self._bootstrap = bootstrap
        self._lake = lake
        self._settings = settings or WriterSettings()
        self._step = step
        self._gathered = Gathered(COMPACTED)
        self._taken = -1
        self._failures = 0
        self._timeline: Timeline | None = None
        self._timeline_end = -1
        self.durable = DurableSoFar()

    async def run(self, stopping: asyncio.Event) -> None:
        """Write until `stopping` is set, then flush once more and return.

        Raises DataLossError where a log no longer holds what a table needs next, UnavailableError where
        topics are missing or the broker is away at the start.
        """
        await require_topics(self._bootstrap, list(TOPICS))
        async with place_in_lake(self._lake, self._settings.slot, stopping) as has_place:
            if not has_place:
                return
            self._tables = await asyncio.to_thread(Tables, self._lake, self._settings.clock, self._step)
            async with self._consuming() as (self._consumer, self._assignment):
                await self._loop(stopping)

    async def log_ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Ask the broker where logs end."""
        ends = await self._consumer.end_offsets([TopicPartition(*at) for at in partitions])
        return {(at.topic, at.partition): end for at, end in ends.items()}

    async def _loop(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                if not self._is_taken:
                    await self._take_over()
                await self._gather()
                if self._gathered.is_due(monotonic(), self._settings.flush_secs, self._settings.flush_bytes):
                    await self._flush()
            except PositionMovedError as error:
                log.warning("lake: %s; what was gathered is dropped and the tables are asked again", error)
                self._drop()
            except (UnavailableError, KafkaError) as error:
                await self._wait_after(error, stopping)
        if self._is_taken:
            await self._last_flush()

    @property
    def _is_taken(self) -> bool:
        """Tell whether the assignment is still the one that the tables were asked for."""
        return self._taken == self._assignment.generation

    async def _take_over(self) -> None:
        """Ask the tables where to go on, the logs whether they do, and only then read."""
        generation = self._assignment.generation
        self._drop()
        sources = sorted(Source(*partition) for partition in self._consumer.assignment())
        await asyncio.to_thread(self._tables.reopen)
        starts = await where_to_go_on(self._bootstrap, self._tables, sources) if sources else {}
        await self._refresh_timeline()
        if generation != self._assignment.generation:
            return  # the loop comes back with the newer one
        self._gathered.begin(starts)
        self.durable.begin(starts)
        for source, offset in starts.items():
            partition = TopicPartition(*source)
            self._consumer.seek(partition, offset)
            self._consumer.resume(partition)
        self._taken = generation
        log.info("lake: reading %d partitions into %s", len(sources), self._lake)
        self._step("assigned")

    async def _refresh_timeline(self) -> None:
        """Read the versions of the facility where one was published since; two writers share its topic's partition."""
        try:
            ends = await asyncio.wait_for(self._consumer.end_offsets([_FACILITY]), _ASK_SECS)
        except (KafkaError, TimeoutError):
            return  # the broker is away; what was gathered is written with what is known
        if ends[_FACILITY] == self._timeline_end:
            return
        try:
            self._timeline = await read_timeline(self._bootstrap, self._settings.clock)
        except ConfigurationError as error:
            log.warning("lake: paths keep their text until a facility is published: %s", error)
        self._timeline_end = ends[_FACILITY]

    async def _gather(self) -> None:
        """Fetch once and keep what came, if the assignment still is the one that was taken over."""
        try:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        except OffsetOutOfRangeError:
            self._drop()  # retention has passed us: taking over says what is lost
            return
        if not self._is_taken:
            return
        for partition, messages in fetched.items():
            try:
                self._gathered.add(Source(*partition), messages, monotonic())
                self.durable.gather(Source(*partition), messages)
            except GapError as gap:
                await self._look_at(gap)
            self._step("gathered")

    async def _look_at(self, gap: GapError) -> None:
        """Halt at a hole of the log, once all before it is written; read again what only the client skipped."""
        try:
            await require_no_hole(self._bootstrap, gap.source, gap.expected)
        except DataLossError:
            await self._flush()
            raise
        raise PositionMovedError(str(gap)) from gap

    async def _flush(self) -> None:
        """Write what was gathered in a thread; the group's heartbeats go on meanwhile."""
        pending = self._gathered.take()
        if not pending:
            return
        await self._refresh_timeline()
        started = monotonic()
        flushed = await asyncio.to_thread(self._tables.flush, pending, self._timeline)
        self._failures = 0
        self.durable.write(pending, self._tables.rows)
        log.info("lake: %d rows in %d files, %d bytes, %.2f s", *flushed, monotonic() - started)
        await self._advise({source: messages[-1].offset + 1 for source, messages in pending.items()})
        self._step("offsets committed")

    async def _advise(self, positions: Mapping[Source, int]) -> None:
        """Tell Kafka how far the tables are, for those who watch lag; nothing depends on it."""
        offsets = {TopicPartition(*source): offset for source, offset in positions.items()}
        try:
            await asyncio.wait_for(self._consumer.commit(offsets), _ADVICE_SECS)
        except (KafkaError, TimeoutError) as error:
            log.info("lake: Kafka did not take the offsets, the tables have them: %s", error)

    async def _last_flush(self) -> None:
        try:
            await self._flush()
        except (PositionMovedError, UnavailableError, KafkaError) as error:
            log.warning("lake: the last flush was not made, Kafka keeps its rows: %s", error)

    def _drop(self) -> None:
        """Forget what was gathered and silence the partitions; the next turn asks the tables."""
        self._gathered.take()
        self._taken = -1
        self._consumer.pause(*self._consumer.assignment())

    async def _wait_after(self, error: Exception, stopping: asyncio.Event) -> None:
        self._drop()
        delay = min(_LONGEST_WAIT_SECS, 2.0**self._failures)
        self._failures += 1
        log.error("lake: %s; next try in %.0f s", error, delay)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), delay)

    @asynccontextmanager
    async def _consuming(self) -> AsyncIterator[tuple[AIOKafkaConsumer, Assignment]]:
        batches.install()
        client_logs.limit_rate()
        session_ms = int(self._settings.session_timeout_secs * 1000)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=group_of(self._lake),
            group_instance_id=f"lake-{self._settings.slot}",
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_min_bytes=_FETCH_MIN_BYTES,
            fetch_max_wait_ms=self._settings.fetch_wait_ms,
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_FETCH_BYTES,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
        )
        assignment = Assignment(consumer)
        consumer.subscribe(list(TOPICS), listener=assignment)
        await consumer.start()
        try:
            yield consumer, assignment
        finally:
            await stop_consumer(consumer, _ADVICE_SECS)
