"""Paths in JSON become ids as soon as a facility is published, while the writer runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from broker.embedded import EmbeddedKafka
from broker.facility import publish
from broker.producer import Producer
from schemas.subject import SubjectKind
from sinks.lake.writer import Writer, WriterSettings
from tests.lake.readings import POWER_TOPIC, rows_of
from tests.schemas.small_facility import powered

METER = "ruh/grid-meter"


def test_a_meter_has_its_id_from_the_moment_that_its_facility_is_published(
    fresh_kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    bootstrap, lake = fresh_kafka.bootstrap, tmp_path / "lake"

    async def send(producer: Producer, watts: float) -> None:
        reading = {"time": "2026-03-01T12:00:00Z", "meter": METER, "power_watts": watts}
        await producer.send(POWER_TOPIC, json.dumps(reading).encode(), key=b"grid")
        await producer.flush()

    async def scenario() -> int | None:
        stopping, steps = asyncio.Event(), list[str]()
        settings = WriterSettings(flush_secs=0.2, fetch_wait_ms=50)
        writing = asyncio.create_task(Writer(bootstrap, lake, settings, steps.append).run(stopping))
        async with Producer(bootstrap) as producer:
            await send(producer, 1.0)
            while "offsets committed" not in steps:
                await asyncio.sleep(0.02)
            registry = await publish(bootstrap, powered())
            await send(producer, 2.0)
            while not (lake / "power").exists() or rows_of(lake, "power").num_rows < 2:
                await asyncio.sleep(0.05)
        stopping.set()
        await writing
        return registry.id_of(SubjectKind.METER, METER)

    meter = asyncio.run(asyncio.wait_for(scenario(), 60))
    before, after = rows_of(lake, "power").sort_by("power_watts").to_pylist()
    assert before["meter"] < 0
    assert before["unregistered_path"] == METER
    assert (after["meter"], after["unregistered_path"]) == (meter, None)
