"""The lake writer: a consumer group of its own that turns the log into durable, committed Parquet.

The tables own the offsets; what Kafka's group stores is advice for people who watch lag. The loop does
one thing at a time: after each assignment it asks the tables where to go on and the logs whether they
still go on there, then it gathers messages, and every `flush_secs` (or `flush_bytes`) it writes them.
Whatever goes wrong on the way drops what was gathered and asks the tables again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from broker import batches, client_logs
from broker.admin import require_topics
from broker.facility import read_registry
from schemas.admission import Clock
from schemas.errors import ConfigurationError, UnavailableError
from schemas.message import Message
from schemas.refused_batch import first_offset
from schemas.registry import Registry
from schemas.topics import BY_NAME as TOPIC_BY_NAME
from sinks.lake.continuity import Log, hole, require_continuity
from sinks.lake.flush import Tables
from sinks.lake.ledger import PositionMovedError
from sinks.lake.locks import FolderLock, lake_lock, slot_lock
from sinks.lake.log_check import check_log
from sinks.lake.log_reader import open_log_reader, to_message
from sinks.lake.parquet import Step, clear_temporary
from sinks.lake.positions import Source
from sinks.lake.tables import TABLES, TOPICS

log = logging.getLogger(__name__)

_POLL_MS = 500
_FETCH_MIN_BYTES = 4_194_304
_PARTITION_FETCH_BYTES = 8_388_608
_LONGEST_WAIT_SECS = 60.0
_ADVICE_SECS = 5.0


class WriterSettings(NamedTuple):
    """Say how a writer works: which slot it holds, and when it flushes."""

    slot: int = 0
    group: str = "lake"
    clock: Clock = "wall"
    flush_secs: float = 10.0
    flush_bytes: int = 67_108_864
    session_timeout_secs: float = 10.0
    fetch_wait_ms: int = 1_000


class _Assignment(ConsumerRebalanceListener):
    """Count assignments, and keep new partitions silent until the tables have been asked.

    Seek and pause come before any await: aiokafka would otherwise read on at Kafka's committed offsets,
    and only logs what is raised here (traps.md 39). All else is for the writer's loop.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.generation = 0

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self.generation += 1

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        for partition in assigned:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
        self.generation += 1


class Writer:
    """Write the topics of one Kafka cluster into the tables of one lake, exactly once."""

    def __init__(
        self, bootstrap: str, lake: Path, settings: WriterSettings | None = None, step: Step = lambda _: None
    ) -> None:
        self._bootstrap = bootstrap
        self._lake = lake
        self._settings = settings or WriterSettings()
        self._step = step
        self._locks: list[FolderLock] = []
        self._next: dict[Source, int] = {}
        self._pending: dict[Source, list[Message]] = {}
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._taken = -1
        self._failures = 0
        self._registry: Registry | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Write until `stopping` is set, then flush once more and return.

        Raises DataLossError where a log no longer holds what a table needs next, UnavailableError where
        topics are missing or the broker is away at the start.
        """
        await require_topics(self._bootstrap, list(TOPICS))
        client_logs.limit_rate()
        if not await self._take_locks(stopping):
            return
        try:
            self._tables = await asyncio.to_thread(Tables, self._lake, self._settings.clock, self._step)
            async with self._consuming() as (self._consumer, self._assignment):
                await self._loop(stopping)
        finally:
            for lock in self._locks:
                lock.release()

    async def _loop(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                if self._taken != self._assignment.generation:
                    await self._take_over()
                await self._gather()
                if self._is_due():
                    await self._flush()
            except PositionMovedError as error:
                log.warning("%s; what was gathered is dropped and the tables are asked again", error)
                self._drop()
            except (UnavailableError, KafkaError) as error:
                await self._wait_after(error, stopping)
        if self._taken == self._assignment.generation:
            await self._last_flush()

    # Assignment

    async def _take_over(self) -> None:
        """Ask the tables where to go on, the logs whether they do, and only then read."""
        generation = self._assignment.generation
        self._drop()
        sources = sorted(Source(*partition) for partition in self._consumer.assignment())
        if not sources:
            self._taken = generation
            return
        await asyncio.to_thread(self._tables.reopen)
        self._next = await self._where_to_go_on(sources)
        await self._read_registry()
        if generation != self._assignment.generation:
            return  # the loop comes back with the newer one
        for source, offset in self._next.items():
            partition = TopicPartition(*source)
            self._consumer.seek(partition, offset)
            self._consumer.resume(partition)
        self._taken = generation
        log.info("lake: reading %d partitions into %s", len(sources), self._lake)
        self._step("assigned")

    async def _where_to_go_on(self, sources: list[Source]) -> dict[Source, int]:
        """Return the smallest next offset over the tables of each source, each position proven to be good."""
        found = {}
        async with open_log_reader(self._bootstrap) as reader:
            bounds = await reader.bounds(sources)
            for source in sources:
                start, end = bounds[source]
                positions = self._tables.positions(source)
                for table, position in positions.items():
                    if position is None:
                        continue
                    is_compacted = _is_compacted(source)
                    last = await reader.record_from(source, max(position.next - 1, start), end)
                    first = await reader.record_from(source, start, end) if is_compacted else None
                    require_continuity(table, source, position, Log(start, end, last, first), is_compacted=is_compacted)
                found[source] = min(start if position is None else position.next for position in positions.values())
        return found

    async def _read_registry(self) -> None:
        try:
            self._registry = await read_registry(self._bootstrap)
        except ConfigurationError as error:
            log.warning("lake: paths keep their text until a facility is published: %s", error)

    # Gathering

    async def _gather(self) -> None:
        """Fetch once and keep what came, if the assignment still is the one that was taken over."""
        try:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
        except OffsetOutOfRangeError:
            self._drop()  # retention has passed us: taking over says what is lost
            return
        if self._taken != self._assignment.generation:
            return
        for partition, records in fetched.items():
            source = Source(*partition)
            if records[0].offset != self._next[source] or records[-1].offset - records[0].offset + 1 != len(records):
                self._keep(source, await self._without_gaps(source, records))
            else:
                self._keep(source, records)

    def _keep(self, source: Source, records: Sequence[ConsumerRecord]) -> None:
        if not records:
            return
        if not self._pending:
            self._pending_since = monotonic()
        self._pending.setdefault(source, []).extend(map(to_message, records))
        self._pending_bytes += sum(len(record.value or b"") for record in records)
        self._next[source] = records[-1].offset + 1
        self._step("gathered")

    async def _without_gaps(self, source: Source, records: Sequence[ConsumerRecord]) -> list[ConsumerRecord]:
        """Return the records that are next; raise DataLossError for a hole that the log confirms."""
        kept, expected = [], self._next[source]
        for record in records:
            if record.offset < expected:
                continue
            begins = first_offset(record.offset, tuple(record.headers))
            if begins > expected and not _is_compacted(source):
                await self._require_no_hole(source, expected)
                raise PositionMovedError(f"{source}: the client jumped from offset {expected} to {begins}")
            kept.append(record)
            expected = record.offset + 1
        return kept

    async def _require_no_hole(self, source: Source, expected: int) -> None:
        async with open_log_reader(self._bootstrap) as reader:
            _, end = (await reader.bounds([source]))[source]
            found = await reader.record_from(source, expected, end)
        begins = end if found is None else first_offset(found.offset, found.headers)
        if begins > expected:
            raise hole(source, expected, begins)

    # Flushing

    def _is_due(self) -> bool:
        if not self._pending:
            return False
        waited = monotonic() - self._pending_since
        return waited >= self._settings.flush_secs or self._pending_bytes >= self._settings.flush_bytes

    async def _flush(self) -> None:
        """Write what was gathered in a thread; the group's heartbeats go on meanwhile."""
        if not self._pending:
            return
        pending, self._pending, self._pending_bytes = self._pending, {}, 0
        if any(source.topic == "facility.v1" for source in pending):
            await self._read_registry()
        started = monotonic()
        flushed = await asyncio.to_thread(self._tables.flush, pending, self._registry)
        self._failures = 0
        log.info("lake: %d rows in %d files, %d bytes, %.2f s", *flushed, monotonic() - started)
        await self._advise({source: messages[-1].offset + 1 for source, messages in pending.items()})
        self._step("offsets committed")

    async def _advise(self, positions: dict[Source, int]) -> None:
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

    # What goes wrong

    def _drop(self) -> None:
        """Forget what was gathered and silence the partitions; the next turn asks the tables."""
        self._pending, self._pending_bytes = {}, 0
        self._taken = -1
        self._consumer.pause(*self._consumer.assignment())

    async def _wait_after(self, error: Exception, stopping: asyncio.Event) -> None:
        self._drop()
        delay = min(_LONGEST_WAIT_SECS, 2.0**self._failures)
        self._failures += 1
        log.error("lake: %s; next try in %.0f s", error, delay)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), delay)

    # Start

    async def _take_locks(self, stopping: asyncio.Event) -> bool:
        """Wait for the slot, check the logs if no writer lives, and hold the lake; False when stopped meanwhile."""
        slot, lake = slot_lock(self._lake, self._settings.slot), lake_lock(self._lake)
        self._locks = [slot, lake]
        if not slot.try_alone():
            log.info("lake: slot %d is held by another process; standing by", self._settings.slot)
        if not await _until(slot.try_alone, stopping):
            return False
        # Damage comes from a loss of power, which no writer survives: where one lives, all was checked.
        if lake.try_alone():
            for table in TABLES:
                for sentence in await asyncio.to_thread(check_log, table.folder(self._lake)):
                    log.warning("lake: %s", sentence)
                clear_temporary(table.folder(self._lake))
        return await _until(lake.try_shared, stopping)

    @asynccontextmanager
    async def _consuming(self):
        batches.install()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=self._settings.group,
            group_instance_id=f"lake-{self._settings.slot}",
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_min_bytes=_FETCH_MIN_BYTES,
            fetch_max_wait_ms=self._settings.fetch_wait_ms,
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            session_timeout_ms=int(self._settings.session_timeout_secs * 1000),
            heartbeat_interval_ms=int(self._settings.session_timeout_secs * 300),
        )
        assignment = _Assignment(consumer)
        consumer.subscribe(list(TOPICS), listener=assignment)
        await consumer.start()
        try:
            yield consumer, assignment
        finally:
            await asyncio.wait_for(consumer.stop(), _ADVICE_SECS)


def _is_compacted(source: Source) -> bool:
    return TOPIC_BY_NAME[source.topic].cleanup == "compact"


async def _until(attempt, stopping: asyncio.Event) -> bool:
    """Try every quarter of a second until `attempt()` succeeds; False when stopped."""
    while not attempt():
        try:
            await asyncio.wait_for(stopping.wait(), 0.25)
        except TimeoutError:
            continue
        return False
    return True
