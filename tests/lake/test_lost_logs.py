"""A log that no longer holds what a table needs next: the writer halts, with what is lost and what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from broker.admin import admin, create_topics
from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas.errors import ConfigurationError, DataLossError
from schemas.topics import BY_NAME
from sinks.lake.log_reader import read_ends
from sinks.lake.positions import Source
from sinks.lake.status import read_status
from sinks.lake.tables import TABLES, TOPICS
from sinks.lake.writer import Writer, WriterSettings
from tests.lake.readings import rows_of

pytestmark = pytest.mark.kafka

TOPIC = "telemetry.progress.v1"
SOURCE = Source(TOPIC, 0)


@pytest.fixture(scope="module")
def progress_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run a broker whose topics are deleted and made anew."""
    with EmbeddedKafka(tmp_path_factory.mktemp("lost-logs") / "broker", quick_start=True) as broker:
        asyncio.run(create_topics(broker.bootstrap))
        yield broker


async def make_anew(bootstrap: str, topic: str = TOPIC) -> None:
    async with admin(bootstrap) as client:
        await client.delete_topics([topic])
        while topic in await client.list_topics():
            await asyncio.sleep(0.02)
    await create_topics(bootstrap, topics=[BY_NAME[topic]])


async def send(bootstrap: str, numbers: range) -> None:
    async with Producer(bootstrap) as producer:
        for number in numbers:
            progress = {"time": "2026-03-01T12:00:00Z", "job": f"job-{number}", "steps": number}
            await producer.send(TOPIC, json.dumps(progress).encode(), key=b"job")
        await producer.flush()


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
    return rows_of(lake, "progress").column("steps").to_pylist()


async def shorter(bootstrap: str) -> None:
    await make_anew(bootstrap)
    await send(bootstrap, range(100, 102))


async def longer(bootstrap: str) -> None:
    await make_anew(bootstrap)
    await send(bootstrap, range(100, 109))


async def cut_by_retention(bootstrap: str) -> None:
    await send(bootstrap, range(5, 9))
    async with admin(bootstrap) as client:
        ends = await read_ends(bootstrap, [SOURCE])
        await client.delete_records({TopicPartition(*SOURCE): RecordsToDelete(before_offset=ends[SOURCE] - 1)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (shorter, "the log ends at 2: the topic was re-created"),
        (longer, "the topic was re-created and has grown past the position"),
        (cut_by_retention, "3 messages after .* were deleted by retention before they were written"),
    ],
)
def test_a_log_that_lost_rows_halts_the_writer(
    progress_kafka: EmbeddedKafka, tmp_path: Path, change: Callable[[str], Awaitable[None]], said: str
) -> None:
    lake, bootstrap = tmp_path / "lake", progress_kafka.bootstrap

    async def scenario() -> None:
        await make_anew(bootstrap)
        await send(bootstrap, range(5))
        await write_to_the_end(bootstrap, lake)
        await change(bootstrap)
        with pytest.raises(DataLossError, match=said) as raised:
            await asyncio.wait_for(write_to_the_end(bootstrap, lake), 30)
        assert str(raised.value).startswith(f"table progress, {TOPIC}/0: ")

    asyncio.run(scenario())
    assert steps_of(lake) == list(range(5))


def test_a_log_whose_old_records_are_gone_but_written_goes_on(progress_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    lake, bootstrap = tmp_path / "lake", progress_kafka.bootstrap

    async def scenario() -> None:
        await make_anew(bootstrap)
        await send(bootstrap, range(5))
        await write_to_the_end(bootstrap, lake)
        async with admin(bootstrap) as client:
            await client.delete_records({TopicPartition(*SOURCE): RecordsToDelete(before_offset=5)})
        await send(bootstrap, range(5, 8))
        await write_to_the_end(bootstrap, lake)

    asyncio.run(scenario())
    assert steps_of(lake) == list(range(8))
