"""Requests on Kafka are answered with windows that win, or with the reason why they cannot be."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

import polars as pl
import pytest

from broker import facility as published
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas import arrow
from schemas.message import Message
from schemas.recomputation import HEADERS, TOPIC, Answered, Asked, decode, encode
from schemas.registry import Registry, assign
from schemas.window import WINDOW
from sinks.lake.flush import Tables
from sinks.lake.positions import Source
from streams.roll_up import GPU_TOPIC, METER_TOPIC
from tests.history.small_lake import SECOND, START, Log, seconds_of_load
from tests.schemas.small_facility import Facility, facility, site
from wattline.recomputing import Recomputing

pytestmark = pytest.mark.kafka


def row_of_two() -> Facility:
    return facility(site({"r01": {"type": "box", "first": 1, "last": 2}}))


async def sent(bootstrap: str, messages: list[Message]) -> None:
    async with Producer(bootstrap) as producer:
        for each in messages:
            await producer.send(each.topic, each.value, key=each.key, headers=each.headers)
        await producer.flush()


async def in_the_lake(bootstrap: str, lake: Path, registry: Registry) -> None:
    """Write what Kafka has now, as the lake's writer would."""
    pending: dict[Source, list[Message]] = defaultdict(list)
    for topic in ("facility.v1", GPU_TOPIC, METER_TOPIC, "windows.site.v1"):
        for message in await read_to_end(bootstrap, topic):
            pending[Source(topic, message.partition)].append(message)
    Tables(lake).flush(pending, registry)


async def ask(bootstrap: str, lake: Path, *asked: Asked) -> int:
    """Send requests and let a process that has just started answer; return how many it answered."""
    async with Producer(bootstrap) as producer:
        for each in asked:
            await producer.send(TOPIC, encode(each), b"", HEADERS)
        await producer.flush()
        recomputing = Recomputing(bootstrap, lake, "wall", producer)
        for message in await read_to_end(bootstrap, TOPIC):
            recomputing.requests.take(message)
        return await recomputing.answer()


async def answers(bootstrap: str) -> list[Answered]:
    return [record for record in map(decode, await read_to_end(bootstrap, TOPIC)) if isinstance(record, Answered)]


async def windows_on(bootstrap: str) -> pl.DataFrame:
    return arrow.decode(WINDOW, await read_to_end(bootstrap, "windows.site.v1")).frame


def test_requests_are_answered_once_the_lake_holds_what_they_need(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    asyncio.run(_answered_once_the_lake_holds(fresh_kafka.bootstrap, tmp_path / "lake"))


async def _answered_once_the_lake_holds(bootstrap: str, lake: Path) -> None:
    await published.publish(bootstrap, row_of_two())
    registry = assign(row_of_two())
    log = Log(registry)
    seconds_of_load(log, 0, 30)
    await sent(bootstrap, log.messages)
    end = len([each for each in await read_to_end(bootstrap, METER_TOPIC) if each.partition == 0])
    late = Asked(None, START + 3 * SECOND, START + 5 * SECOND, "late", METER_TOPIC, 0, end)

    assert await ask(bootstrap, lake, late) == 0  # there is no lake yet
    await in_the_lake(bootstrap, lake, registry)
    assert await ask(bootstrap, lake) == 1
    assert await answers(bootstrap) == [Answered(None, late.first_second, late.end_second, 1, 1)]
    told = await windows_on(bootstrap)
    assert set(told["version_generation"]) == {1}
    assert told.filter(every_seconds=1)["window_start"].n_unique() == 2
    assert told.filter(every_seconds=60)["window_start"].n_unique() == 1

    # Answered requests are open no more; a later one of the same stretch wins over what the lake has by then.
    assert await ask(bootstrap, lake) == 0
    await in_the_lake(bootstrap, lake, registry)
    conflict = Asked("ruh", START + 4 * SECOND, START + 5 * SECOND, "conflict", METER_TOPIC, 0, end)
    assert await ask(bootstrap, lake, conflict) == 1
    assert (await answers(bootstrap))[-1].generation == 2


def test_what_retention_took_is_final(
    fresh_kafka: EmbeddedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wattline.recomputing.TRY_AGAIN_SECS", 0.0)
    asyncio.run(_final(fresh_kafka.bootstrap, tmp_path / "lake"))
    assert "stays as it is for good: telemetry." in caplog.text


async def _final(bootstrap: str, lake: Path) -> None:
    await published.publish(bootstrap, row_of_two())
    registry = assign(row_of_two())
    log = Log(registry)
    seconds_of_load(log, 0, 30)
    await sent(bootstrap, log.messages)
    for topic in (GPU_TOPIC, METER_TOPIC):
        for message in await read_to_end(bootstrap, topic):
            if message.offset > 0:
                Tables(lake).flush({Source(topic, message.partition): [message]}, registry)
                break
    await in_the_lake(bootstrap, lake, registry)
    asked = Asked(None, START, START + SECOND, "late", METER_TOPIC, 0, 1)
    assert await ask(bootstrap, lake, asked) == 1
    (said,) = await answers(bootstrap)
    assert (said.generation, said.final_because, said.answers) == (None, "retention", 1)
    assert "deleted by retention" in said.message
    assert (await windows_on(bootstrap)).is_empty()
