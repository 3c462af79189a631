"""After each assignment: where every partition goes on, and the proof that its log still goes on there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from schemas.refused_batch import first_offset
from schemas.topics import TOPICS
from sinks.lake.continuity import Break, Log, data_loss, find_break, hole
from sinks.lake.flush import Tables
from sinks.lake.log_reader import LogReader, open_log_reader
from sinks.lake.positions import Position, Source

COMPACTED = frozenset(topic.name for topic in TOPICS if topic.cleanup == "compact")


class Assignment(ConsumerRebalanceListener):
    """Count assignments, and keep new partitions silent until the tables have been asked.

    Seek and pause come before any await: aiokafka would otherwise read on at Kafka's committed offsets,
    and only logs what is raised here (traps.md 39). All else is for the writer's loop.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.generation = 0

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Make the loop ask again; what was gathered is dropped there."""
        self.generation += 1

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Silence the partitions until the loop has asked."""
        for partition in assigned:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
        self.generation += 1


class Broken(NamedTuple):
    """Name a table whose position in `source` its log no longer goes on at."""

    table: str
    source: Source
    position: Position
    log: Log
    how: Break


async def where_to_go_on(bootstrap: str, tables: Tables, sources: Sequence[Source]) -> dict[Source, int]:
    """Return the smallest next offset over the tables of each source.

    Raises DataLossError where a log does not go on at a table's position.
    """
    found = {}
    async with open_log_reader(bootstrap) as reader:
        bounds = await reader.bounds(sources)
        for source in sources:
            positions = tables.positions(source)
            async for broken in find_broken(reader, source, positions, bounds[source]):
                raise data_loss(broken.how)
            start, _ = bounds[source]
            found[source] = min(start if position is None else position.next for position in positions.values())
    return found


async def require_no_hole(bootstrap: str, source: Source, expected: int) -> None:
    """Raise DataLossError where the log really goes on behind `expected`; return where only the client did."""
    async with open_log_reader(bootstrap) as reader:
        _, end = (await reader.bounds([source]))[source]
        if broken := await find_hole(reader, str(source), source, expected, end):
            raise data_loss(broken)


async def find_hole(reader: LogReader, where: str, source: Source, expected: int, end: int) -> Break | None:
    """Return the hole that begins at `expected`, None where a record is there or nothing follows."""
    found = await reader.record_from(source, expected, end)
    begins = expected if found is None else first_offset(found.offset, found.headers)
    return hole(where, expected, begins) if begins > expected else None


async def find_broken(
    reader: LogReader, source: Source, positions: Mapping[str, Position | None], bounds: tuple[int, int]
) -> AsyncIterator[Broken]:
    """Yield each table whose position the log of `source`, offsets `[start, end)` = `bounds`, does not go on at."""
    start, end = bounds
    is_compacted = source.topic in COMPACTED
    first = await reader.record_from(source, start, end) if is_compacted and any(positions.values()) else None
    logs: dict[int, Log] = {}  # the tables of one topic mostly stand at one position
    for table, position in positions.items():
        if position is None:
            continue
        if position.next not in logs:
            last = await reader.record_from(source, max(position.next - 1, start), end)
            logs[position.next] = Log(start, end, last, first)
        log = logs[position.next]
        if how := find_break(table, source, position, log, is_compacted=is_compacted):
            yield Broken(table, source, position, log, how)
