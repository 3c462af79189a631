"""Partitions that are dealt one after the other: the evaluator goes back to its snapshot once."""

from __future__ import annotations

import asyncio

from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas.topics import BY_NAME
from streams import snapshot
from streams.evaluate import POWER_TOPIC
from streams.job_book import JobBook
from streams.stage import Place
from tests.streams.test_turns_of_evaluate import staged

FIRST, SECOND = (POWER_TOPIC, 0), (POWER_TOPIC, 1)


def test_those_that_come_later_begin_where_the_snapshot_says_and_undo_nothing(fresh_kafka: EmbeddedKafka) -> None:
    """Fails where the snapshot is gone back to again: what the first ones brought meanwhile would be lost."""
    stage, kafka = staged()
    kafka.topic_ids = dict.fromkeys(BY_NAME, "")
    kafka.partitions = lambda topic: BY_NAME[topic].partitions
    stage._bootstrap = fresh_kafka.bootstrap
    stage._job_log.catch_up = stage._job_log.hear
    stage._facility.catch_up, stage._book = stage._job_log.hear, JobBook()
    stage._evaluator.readings.go_on_at({0: 5, 1: 3})

    async def deal() -> tuple[object, object, object]:
        taken = snapshot.take(stage._evaluator, stage._positions)
        async with Producer(fresh_kafka.bootstrap) as producer:
            await producer.send(snapshot.TOPIC, taken.encode(), stage._key)
            await producer.flush()
        first = await stage.assigned({FIRST: Place(9)})
        restored = stage._evaluator
        second = await stage.assigned({SECOND: Place(9)})
        return first, second, stage._evaluator is restored

    assert asyncio.run(deal()) == ({FIRST: 5}, {SECOND: 3}, True)
