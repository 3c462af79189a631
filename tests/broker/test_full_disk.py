"""Kafka on a disk that fills up: a clear line, nothing acknowledged lost, and on again when there is room."""

from __future__ import annotations

import asyncio
import os
import shutil

import pytest

from broker.admin import create_topics
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas.topics import BY_NAME

pytestmark = pytest.mark.real
LEFT_BYTES = 8_000_000
VALUE_BYTES = 50_000


def test_what_was_acknowledged_before_the_disk_was_full_is_there_afterwards(small_disk):
    acknowledged: list[int] = []
    alarms: list[str] = []

    async def send(producer: Producer, number: int) -> None:
        await (await producer.send("alerts.v1", number.to_bytes(4) + os.urandom(VALUE_BYTES)))
        acknowledged.append(number)

    async def fill(kafka: EmbeddedKafka) -> None:
        await create_topics(kafka.bootstrap, topics=[BY_NAME["alerts.v1"]])
        async with Producer(kafka.bootstrap, alarm=alarms.append, alarm_after_secs=1) as producer:
            number = 0
            while not kafka.ended:
                sending = asyncio.create_task(send(producer, number))
                number += 1
                while not sending.done() and not kafka.ended:
                    await asyncio.sleep(0.005)
            while not alarms:
                await asyncio.sleep(0.01)

    filler = small_disk / "filler"
    with EmbeddedKafka(small_disk / "kafka", quick_start=True) as kafka:
        filler.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - LEFT_BYTES))
        asyncio.run(fill(kafka))
        assert f"ended because its disk is full: {small_disk}" in kafka.ended
    assert "is it down, its disk full or the topic gone?" in alarms[0]
    filler.unlink()
    with EmbeddedKafka(small_disk / "kafka", quick_start=True) as kafka:
        values = [message.value for message in asyncio.run(read_to_end(kafka.bootstrap, "alerts.v1"))]
    read = [int.from_bytes(value[:4]) for value in values]
    assert acknowledged
    assert set(acknowledged) <= set(read)
    assert len(read) == len(set(read))
