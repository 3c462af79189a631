"""The one producer and the plain consumers, on a real Kafka."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from broker.admin import create_topics
from broker.consumer import follow, read_to_end
from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas.errors import RejectedRecordError, UnavailableError
from schemas.message import Message
from schemas.topics import BY_NAME

NOBODY = "127.0.0.1:1"


def test_what_is_sent_is_read_back_with_key_headers_and_append_time(kafka, new_topic):
    topic = new_topic("readings", partitions=3)

    async def send_and_read() -> tuple[list[tuple[int, int]], list[Message]]:
        async with Producer(kafka.bootstrap) as producer:
            places = [await producer.send(topic, b"%d" % i, key=b"k%d" % i, headers=[("h", b"v")]) for i in range(50)]
            await producer.flush()
            return [place.result() for place in places], await read_to_end(kafka.bootstrap, topic)

    started = time.time()
    places, messages = asyncio.run(send_and_read())
    assert sorted(places) == [(message.partition, message.offset) for message in messages]
    assert {(message.key, message.value) for message in messages} == {(b"k%d" % i, b"%d" % i) for i in range(50)}
    assert all(message.headers == (("h", b"v"),) for message in messages)
    assert all(started - 1 < message.appended / 1e6 < time.time() + 1 for message in messages)


def test_a_reader_begins_at_a_time_at_the_start_or_at_the_end(kafka, new_topic):
    topic = new_topic()

    async def scenario() -> None:
        async with Producer(kafka.bootstrap) as producer:
            await (await producer.send(topic, b"old"))
            [old] = await read_to_end(kafka.bootstrap, topic)
            while time.time() * 1e6 < old.appended + 2000:
                await asyncio.sleep(0.001)
            await (await producer.send(topic, b"new"))
            assert [m.value for m in await read_to_end(kafka.bootstrap, topic, old.appended + 1000)] == [b"new"]
            assert await read_to_end(kafka.bootstrap, topic, "latest") == []
            following = follow(kafka.bootstrap, topic, from_="earliest")
            assert [(await anext(following)).value for _ in range(2)] == [b"old", b"new"]
            await (await producer.send(topic, b"newest"))
            assert (await anext(following)).value == b"newest"
            await following.aclose()

    asyncio.run(scenario())


def test_a_missing_topic_and_an_absent_broker_are_told_within_seconds(kafka):
    async def refused(coroutine, words: str) -> None:
        with pytest.raises(UnavailableError, match=words):
            await coroutine

    async def scenario() -> None:
        async with Producer(kafka.bootstrap) as producer:
            await refused(producer.send("no-such-topic", b"1"), "no-such-topic does not exist")
        await refused(read_to_end(kafka.bootstrap, "no-such-topic"), "no-such-topic does not exist")
        await refused(anext(follow(kafka.bootstrap, "no-such-topic")), "no-such-topic does not exist")
        await refused(read_to_end(NOBODY, "topic"), f"no Kafka answers at {NOBODY}")
        await refused(Producer(NOBODY).__aenter__(), f"no Kafka answers at {NOBODY}")

    started = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - started < 5


def test_a_message_too_large_is_refused_and_its_neighbours_arrive(kafka, new_topic):
    topic = new_topic("small", max_message_bytes=20_000)

    async def scenario() -> list[Message]:
        async with Producer(kafka.bootstrap) as producer:
            await producer.send(topic, b"before")
            with pytest.raises(RejectedRecordError, match="takes at most 18,976") as refused:
                await producer.send(topic, os.urandom(18_977))
            assert refused.value.reason == "too_large"
            await producer.send(topic, os.urandom(18_976))
            await producer.flush()
        return await read_to_end(kafka.bootstrap, topic)

    assert [len(message.value) for message in asyncio.run(scenario())] == [6, 18_976]


def test_an_absent_broker_raises_the_alarm_and_nothing_is_lost_or_doubled(tmp_path):
    alarms: list[str] = []

    async def scenario(kafka: EmbeddedKafka) -> list[bytes | None]:
        await create_topics(kafka.bootstrap, topics=[BY_NAME["alerts.v1"]])
        async with Producer(kafka.bootstrap, alarm=alarms.append, alarm_after_secs=0.4) as producer:
            await (await producer.send("alerts.v1", b"before"))
            kafka.nodes[0].kill()
            place = await producer.send("alerts.v1", b"during")
            place.cancel()  # a caller that loses patience takes nothing back
            with pytest.raises(UnavailableError, match="1 messages not acknowledged"):
                await producer.flush(within_secs=0.1)
            while not alarms:
                await asyncio.sleep(0.02)
            await asyncio.to_thread(kafka.nodes[0].start)
            await producer.flush()
            assert producer.waiting == 0
        return [message.value for message in await read_to_end(kafka.bootstrap, "alerts.v1")]

    with EmbeddedKafka(tmp_path / "kafka", quick_start=True) as kafka:
        assert asyncio.run(scenario(kafka)) == [b"before", b"during"]
    assert "has not acknowledged 1 messages, the oldest to alerts.v1" in alarms[0]


def test_a_producer_of_a_kafka_that_stays_away_ends_in_time_and_says_what_was_not_acknowledged(tmp_path):
    alarms: list[str] = []

    async def scenario(kafka: EmbeddedKafka) -> float:
        await create_topics(kafka.bootstrap, topics=[BY_NAME["alerts.v1"], BY_NAME["actions.v1"]])
        async with Producer(kafka.bootstrap, alarm=alarms.append, alarm_after_secs=0.5) as producer:
            await (await producer.send("alerts.v1", b"taken"))
            kafka.nodes[0].kill()
            await producer.send("alerts.v1", b"not taken")
            await producer.send("actions.v1", b"the first to this topic")
            leaving = time.monotonic()
        return time.monotonic() - leaving

    with EmbeddedKafka(tmp_path / "kafka", quick_start=True) as kafka:
        assert asyncio.run(scenario(kafka)) < 5
    assert alarms[-1] == f"2 messages were never acknowledged by Kafka at {kafka.bootstrap}: given up"
