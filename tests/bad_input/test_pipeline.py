"""Garbage on every topic of a running pipeline: no worker stops, no good row is lost, all of it is in `rejected`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest

from broker import ports
from broker.embedded import EmbeddedKafka
from broker.facility import publish
from broker.producer import Producer
from schemas import arrow, canary
from schemas.facility import load
from schemas.gpu import GPU
from schemas.meter import METER
from schemas.topics import TOPICS
from sinks.sql.connection import connect
from tests.bad_input import wire
from tests.bad_input.cases import GPU_TOPIC, POWER_TOPIC, cases, gpu_rows, meter_rows, mutant
from tests.conftest import REPOSITORY
from tests.streams.processes import Process
from wattline.parts import PARTS, Settings, worker

PATIENCE_SECS = 60.0
METER_HEADERS = arrow.headers(METER)
MUTANTS = 100
GARBAGE = [b"", b"\x00\xff" * 100, b'{"id": ', b"\xff\xff\xff\xff\x10\x00\x00\x00garbage", b"[1, 2, 3]"]
NOT_IN_THE_LAKE = {"alerts.state.v1", "health.v1", "actions.v1", "recomputations.v1", "streams.lease.v1"}
"""Topics that only Wattline's own state passes through: garbage there has no row, and must do no harm."""

Refused = tuple[str, int, int, int, str]


@pytest.fixture
def pipeline(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[dict[str, Process]]:
    """Run every part as the supervisor would."""
    asyncio.run(publish(fresh_kafka.bootstrap, load(REPOSITORY / "examples" / "halo-2mw.toml")))
    settings = Settings(bootstrap=fresh_kafka.bootstrap, lake=tmp_path / "lake", web_port=ports.free(1)[0])
    with ExitStack() as running:
        yield {part: running.enter_context(started(part, settings, tmp_path / f"{part}.log")) for part in PARTS}


def started(part: str, settings: Settings, log: Path) -> Process:
    flush = ("--flush-secs", "1") if part == "lake" else ()
    return Process(log, *worker(part, 0, settings).argv[1:], *flush)


class Sent(NamedTuple):
    """Hold what must be refused, where mutants lie, and how many good rows each topic got."""

    refused: set[Refused]
    mutants: set[tuple[int, int]]
    good: dict[str, int]


async def send_all(bootstrap: str) -> Sent:
    """Send garbage between good readings."""
    now = time.time_ns() // 1000
    expected: set[Refused] = set()
    mutants: set[tuple[int, int]] = set()
    source = random.Random(7)
    good = {GPU_TOPIC: 0, POWER_TOPIC: 0}
    async with Producer(bootstrap) as producer:
        await _send_good(producer, now, good)
        for case in cases(now):
            placed = await producer.send(case.topic, case.value, case.key, case.headers)
            expected.add((case.topic, *(await placed), case.row, case.reason))
            if case.topic in good:
                good[case.topic] += case.good
        whole = arrow.encode(GPU, gpu_rows(now, 46))
        for _ in range(MUTANTS):
            value = mutant(source, whole)
            mutants.add(await (await producer.send(GPU_TOPIC, value, b"mutant", arrow.headers(GPU))))
        for topic in TOPICS:
            for value in GARBAGE:
                await (await producer.send(topic.name, value, key=b"garbage"))
        for topic, batch, count in (
            (GPU_TOPIC, wire.zstd_bomb(2_000_000_000), 1),
            (POWER_TOPIC, wire.empty_records(150_000), 150_000),
        ):
            code, offset = await wire.send_batch(bootstrap, topic, batch)
            assert code == 0
            expected.add((topic, 0, offset + count - 1, -1, "too_large"))
        named = wire.record(0, b'{"time":%d,"meter":7,"power_watts":5}' % now, headers=[(b"\xff\xfe", b"x")])
        assert (await wire.send_batch(bootstrap, POWER_TOPIC, wire.batch(named, 1)))[0] == 0
        good[POWER_TOPIC] += 1
        await _send_good(producer, now, good)
    return Sent(expected, mutants, good)


async def _send_good(producer: Producer, now: int, good: dict[str, int]) -> None:
    for key in range(16):
        for topic, record, rows in ((GPU_TOPIC, GPU, gpu_rows(now, 46)), (POWER_TOPIC, METER, meter_rows(now, 20))):
            await producer.send(topic, arrow.encode(record, rows), b"%d" % key, arrow.headers(record))
            good[topic] += len(rows)
    await producer.flush(within_secs=30)


def _good_rows(rows: list[tuple], mutants: set[tuple[int, int]]) -> int:
    return sum(count for partition, offset, count in rows if (partition, offset) not in mutants)


def asked_until(lake: Path, question: str, is_enough: Callable[[list[tuple]], bool]) -> list[tuple]:
    """Ask the lake until the answer is enough; return the last answer where it never is."""
    deadline = time.monotonic() + PATIENCE_SECS
    while True:
        try:
            answer = connect(lake).execute(question).fetchall() if lake.is_dir() else []
        except duckdb.Error:  # the writer is at its first commit
            answer = []
        if is_enough(answer) or time.monotonic() > deadline:
            return answer
        time.sleep(0.3)


def test_garbage_on_every_topic_stops_nothing_and_is_told(
    fresh_kafka: EmbeddedKafka, pipeline: dict[str, Process], tmp_path: Path
) -> None:
    sent = asyncio.run(send_all(fresh_kafka.bootstrap))
    lake = tmp_path / "lake"
    question = 'SELECT topic, partition, "offset", row, reason FROM rejected'
    told = asked_until(lake, question, lambda rows: sent.refused <= set(rows))
    assert sent.refused - set(told) == set()
    telling = {topic for topic, *_ in told}
    assert telling >= {topic.name for topic in TOPICS} - NOT_IN_THE_LAKE
    gpu = "SELECT _partition, _offset, count(*) FROM raw.gpu GROUP BY ALL"
    rows = asked_until(lake, gpu, lambda rows: _good_rows(rows, sent.mutants) == sent.good[GPU_TOPIC])
    assert _good_rows(rows, sent.mutants) == sent.good[GPU_TOPIC]
    heard_of = {(partition, offset) for topic, partition, offset, *_ in told if topic == GPU_TOPIC}
    assert sent.mutants <= heard_of | {(partition, offset) for partition, offset, _ in rows}
    power = f"SELECT count(*) FROM raw.power WHERE meter <> {canary.METER_ID}"
    assert asked_until(lake, power, lambda rows: rows == [(sent.good[POWER_TOPIC],)]) == [(sent.good[POWER_TOPIC],)]
    for part, process in pipeline.items():
        assert process.popen.poll() is None, f"{part} stopped:\n{process.output}"
        assert "Traceback" not in process.output, f"{part} raised:\n{process.output}"


def test_a_lake_goes_on_behind_a_batch_that_could_not_be_read(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Its last record is the batch's stand-in when it stops: the log must be known again at the next start."""
    settings = Settings(bootstrap=fresh_kafka.bootstrap, lake=tmp_path / "lake", web_port=ports.free(1)[0])
    count = "SELECT count(*) FROM raw.power"
    now = time.time_ns() // 1000

    async def send_good() -> None:
        async with Producer(fresh_kafka.bootstrap) as producer:
            for key in range(8):
                await producer.send(POWER_TOPIC, arrow.encode(METER, meter_rows(now, 20)), b"%d" % key, METER_HEADERS)
            await producer.flush(within_secs=30)

    asyncio.run(send_good())
    for partition in range(4):
        batch = wire.empty_records(120_000) if partition % 2 else wire.zstd_bomb(200_000_000)
        assert asyncio.run(wire.send_batch(fresh_kafka.bootstrap, POWER_TOPIC, batch, partition))[0] == 0
    with started("lake", settings, tmp_path / "first.log") as writer:
        assert asked_until(settings.lake, count, lambda rows: rows == [(160,)]) == [(160,)]
        writer.terminate()
    asyncio.run(send_good())
    with started("lake", settings, tmp_path / "second.log") as writer:
        assert asked_until(settings.lake, count, lambda rows: rows == [(320,)]) == [(320,)], writer.output
        assert writer.popen.poll() is None
