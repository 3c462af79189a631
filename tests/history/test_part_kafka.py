"""All parts as processes on a real Kafka: a reading that came too late ends up in the windows, without a hand."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest

from broker import facility as published
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas import arrow
from schemas.recomputation import TOPIC, Answered, decode
from schemas.registry import assign
from schemas.subject import SubjectKind
from schemas.window import WINDOW
from tests.history.small_lake import SECOND, START, Log, seconds_of_load
from tests.schemas.small_facility import facility, site
from tests.streams.processes import Process

pytestmark = pytest.mark.kafka
PATIENCE_SECS = 60.0


def test_a_reading_too_late_for_the_streams_is_in_windows_of_a_greater_generation(
    fresh_kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    bootstrap, lake = fresh_kafka.bootstrap, tmp_path / "lake"
    row = facility(site({"r01": {"type": "box", "first": 1, "last": 2}}))
    asyncio.run(published.publish(bootstrap, row))
    log = Log(assign(row))
    seconds_of_load(log, 0, 90)
    meter = int(log.registry.meters["meter"][0])
    log.meter(30.9, meter, 40_000.0, partition=meter % 4)
    seconds_of_load(log, 90, 95)
    with ExitStack() as running:
        for part in ("roll-up", "evaluate", "lake", "history"):
            options = ["--bootstrap", bootstrap, "--clock", "event"]
            options += ["--lake", str(lake)] if part in ("lake", "history") else []
            options += ["--flush-secs", "1"] if part == "lake" else []
            arguments = ("-m", "wattline", "worker", part, *options)
            running.enter_context(Process(tmp_path / f"{part}.log", *arguments))
        asyncio.run(_send(bootstrap, log))
        answers = _until(lambda: asyncio.run(_answers(bootstrap)), tmp_path)
        assert {(each.generation, each.final_because) for each in answers} == {(1, None)}
        live, again = _until(lambda: asyncio.run(_generations(bootstrap)), tmp_path)
    assert again > live + 1_500


async def _send(bootstrap: str, log: Log) -> None:
    """Send the messages one after the other in event time, each to the partition of the log."""
    async with Producer(bootstrap) as producer:
        for each in log.messages:
            await producer.send(each.topic, each.value, key=str(each.partition).encode(), headers=each.headers)
        await producer.flush()


async def _answers(bootstrap: str) -> list[Answered]:
    records = [decode(message) for message in await read_to_end(bootstrap, TOPIC)]
    return [each for each in records if isinstance(each, Answered)]


async def _generations(bootstrap: str) -> tuple[float, float] | None:
    """Return what the row drew in second 30 as told live and as recomputed, None until both are there."""
    windows = arrow.decode(WINDOW, await read_to_end(bootstrap, "windows.site.v1")).frame
    rows = windows.filter(subject_kind=int(SubjectKind.ROW), every_seconds=1)
    second = rows.filter(pl.col("window_start").to_physical() == START + 30 * SECOND)
    live, again = (second.filter(version_generation=each)["power_watts"].max() for each in (0, 1))
    return None if live is None or again is None else (live, again)


def _until(look, folder: Path):
    deadline = time.monotonic() + PATIENCE_SECS
    while not (found := look()):
        logs = "\n".join(path.read_text()[-1_500:] for path in folder.glob("*.log"))
        assert time.monotonic() < deadline, f"nothing in {PATIENCE_SECS} s:\n{logs}"
        time.sleep(0.3)
    return found
