"""The log of jobs on a real Kafka: heard to its end, heard as it grows, and waited for up to an offset."""

from __future__ import annotations

import asyncio
import time

import pytest

from broker.embedded import EmbeddedKafka
from broker.job_log import TOPIC, JobLog, job_log
from broker.producer import Producer

pytestmark = pytest.mark.kafka


async def say(bootstrap: str, *names: str) -> None:
    async with Producer(bootstrap) as producer:
        for name in names:
            await producer.send(TOPIC, b"{}", name.encode())
        await producer.flush()


async def heard_of(log: JobLog, count: int, within_secs: float = 10.0) -> list[bytes | None]:
    """Hear without waiting until so many came."""
    deadline, names = time.monotonic() + within_secs, []
    while len(names) < count:
        names += [message.key for message in await log.hear()]
        assert time.monotonic() < deadline, names
        await asyncio.sleep(0.02)
    return names


def test_the_log_is_heard_to_its_end_and_as_it_grows(fresh_kafka: EmbeddedKafka) -> None:
    async def play() -> None:
        await say(fresh_kafka.bootstrap, "a", "b")
        async with job_log(fresh_kafka.bootstrap) as log:
            assert [message.key for message in await log.catch_up()] == [b"a", b"b"]
            assert (log.next_offset, await log.hear(), await log.catch_up()) == (2, [], [])
            await say(fresh_kafka.bootstrap, "c")
            assert await heard_of(log, 1) == [b"c"]
            await say(fresh_kafka.bootstrap, "d", "e")
            heard = await log.hear_through(5)
            assert ([message.key for message in heard], log.next_offset) == ([b"d", b"e"], 5)
            # What nobody has written is not waited for.
            assert await log.hear_through(99) == []

    asyncio.run(play())
