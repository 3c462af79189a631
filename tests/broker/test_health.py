"""What a worker says of itself on `health.v1`: counted, measured, sent, and taken away at its end."""

from __future__ import annotations

import asyncio
import time

import pytest

from broker.admin import create_topics
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.health import Counted, LoopDelay, Reporter
from schemas.errors import RejectedRecordError
from schemas.health import TOPIC, Health, PartitionHealth, Totals, decode_health
from schemas.message import Message
from schemas.topics import BY_NAME


def message(offset: int, value: bytes | None) -> Message:
    return Message("telemetry.gpu.v1", 3, offset, 1_800_000_000_000_000 + offset, b"key", value)


async def nowhere() -> tuple[PartitionHealth, ...]:
    return (PartitionHealth("telemetry.gpu.v1", 3, 12, 15, 0.5),)


def test_messages_bytes_rows_and_refusals_are_counted_by_topic() -> None:
    counted = Counted()
    counted.messages([message(7, b"12345"), message(8, None)])
    counted.rows("telemetry.gpu.v1", 46)
    counted.refused([("telemetry.gpu.v1", "bad_time"), ("telemetry.gpu.v1", "bad_time")])
    counted.refused([("telemetry.power.v1", "not_json")])
    assert counted.totals["telemetry.gpu.v1"] == Totals(messages=2, bytes=5, rows=46, refused={"bad_time": 2})
    assert counted.totals["telemetry.power.v1"] == Totals(refused={"not_json": 1})
    assert counted.taken == {("telemetry.gpu.v1", 3): (8, 1_800_000_000_000_008)}


def test_a_count_that_begins_anew_goes_on_rising() -> None:
    counts = iter([0, 5, 2, 2, 9, 0])
    counted = Counted()
    counted.count_too_late(lambda: next(counts))
    assert [counted.too_late() for _ in range(6)] == [0, 5, 7, 7, 14, 14]


def test_a_loop_that_was_held_up_says_for_how_long_and_only_once() -> None:
    async def held_up() -> tuple[float, float]:
        delay = LoopDelay()
        watching = asyncio.create_task(delay.watch())
        await asyncio.sleep(0.15)
        time.sleep(0.4)  # noqa: ASYNC251 - what a worker must not do
        await asyncio.sleep(0.05)
        worst = delay.take()
        await asyncio.sleep(0.15)
        watching.cancel()
        return worst, delay.take()

    worst, after = asyncio.run(held_up())
    assert 0.25 < worst < 5
    assert after < worst


def test_a_worker_is_heard_on_kafka_and_takes_its_record_away_at_its_end(kafka: EmbeddedKafka) -> None:
    slot = time.time_ns() % 1_000_000

    async def heard() -> list[Message]:
        await create_topics(kafka.bootstrap, topics=[BY_NAME[TOPIC]])
        counted = Counted()
        counted.rows("telemetry.gpu.v1", 46)
        counted.open_windows = lambda: 3
        reporter = Reporter(kafka.bootstrap, "roll-up", slot, counted, nowhere, every_secs=0.05)
        reporter.start()
        deadline = time.monotonic() + 20
        while len(messages := await read(slot)) < 2:
            assert time.monotonic() < deadline, "the worker is not heard"
        await reporter.stop()
        return messages + (await read(slot))[-1:]

    async def read(slot: int) -> list[Message]:
        return [each for each in await read_to_end(kafka.bootstrap, TOPIC) if each.key == b"roll-up-%d" % slot]

    *told, last = asyncio.run(heard())
    first, second = (decode_health(each) for each in told[:2])
    assert isinstance(first, Health)
    assert (first.totals["telemetry.gpu.v1"].rows, first.open_windows) == (46, 3)
    assert first.partitions == (PartitionHealth("telemetry.gpu.v1", 3, 12, 15, 0.5),)
    assert first.resident_bytes > 10_000_000
    assert 0 < first.cpu_seconds <= second.cpu_seconds
    assert first.started == second.started < first.time < second.time
    assert last.value is None


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b'{"app": "roll-up"}', b"\xff", b"[" * 100_000])
def test_what_is_no_health_record_is_said_to_be_none(value: bytes | None) -> None:
    with pytest.raises(RejectedRecordError, match="not a health record"):
        decode_health(message(1, value))
