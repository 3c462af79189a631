"""One small log, that of the progress of jobs, which tests delete, cut and make anew, and a lake of it."""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import suppress
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from broker.admin import admin, create_topics
from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas.errors import ConfigurationError
from schemas.topics import BY_NAME
from sinks.lake.log_reader import read_ends
from sinks.lake.positions import Source
from sinks.lake.status import read_status
from sinks.lake.tables import TABLES, TOPICS
from sinks.lake.writer import Writer, WriterSettings
from tests.lake.readings import rows_of

TOPIC = "telemetry.progress.v1"
SOURCE = Source(TOPIC, 0)
_BATCH = struct.Struct(">qi")


async def make_anew(bootstrap: str, topic: str = TOPIC) -> None:
    """Delete a topic and create it again."""
    async with admin(bootstrap) as client:
        await client.delete_topics([topic])
        while topic in await client.list_topics():
            await asyncio.sleep(0.02)
    await create_topics(bootstrap, topics=[BY_NAME[topic]])


async def send(bootstrap: str, numbers: range) -> None:
    """Send one record a number, each in a batch of its own."""
    async with Producer(bootstrap) as producer:
        for number in numbers:
            progress = {"time": "2026-03-01T12:00:00Z", "job": f"job-{number}", "steps": number}
            await producer.send(TOPIC, json.dumps(progress).encode(), key=b"job")
            await producer.flush()


async def delete_before(bootstrap: str, offset: int) -> None:
    """Let the log begin at `offset`, as retention does."""
    async with admin(bootstrap) as client:
        await client.delete_records({TopicPartition(*SOURCE): RecordsToDelete(before_offset=offset)})


async def write_to_the_end(bootstrap: str, lake: Path) -> None:
    """Run a writer until it stands at the end of the log, or raise what it raises."""
    stopping = asyncio.Event()
    settings = WriterSettings(flush_secs=0.2, session_timeout_secs=2, fetch_wait_ms=50)
    writing = asyncio.create_task(Writer(bootstrap, lake, settings).run(stopping))
    ends = await read_ends(bootstrap, [Source(topic, n) for topic in TOPICS for n in range(BY_NAME[topic].partitions)])
    while not writing.done() and not _is_at(lake, ends):
        await asyncio.sleep(0.05)
    stopping.set()
    await writing


def _is_at(lake: Path, ends: dict[Source, int]) -> bool:
    with suppress(ConfigurationError):  # not made yet
        tables = read_status(lake, ends)
        return len(tables) == len(TABLES) and not any(lag for table in tables for lag in (table.lag or {}).values())
    return False


def steps_of(lake: Path) -> list[int]:
    """Return the numbers that a lake holds, sorted."""
    return sorted(rows_of(lake, "progress").column("steps").to_pylist())


def cut_out(kafka: EmbeddedKafka, offsets: range) -> None:
    """Take batches out of the log on the broker's disk while it is down, as damage or a lost leader does."""
    (node,) = kafka.nodes
    node.kill()
    for path in node.folder.glob(f"log/{TOPIC}-0/*.*"):
        if path.suffix == ".log":
            path.write_bytes(b"".join(raw for base, raw in _batches(path.read_bytes()) if base not in offsets))
        elif path.suffix != ".metadata":
            path.unlink()  # indexes and producers are read from the log again
    node.start()


def _batches(log: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at + _BATCH.size <= len(log):
        base, length = _BATCH.unpack_from(log, at)
        if not length:  # the rest was set aside for what comes
            break
        end = at + _BATCH.size + length
        found.append((base, log[at:end]))
        at = end
    return found
