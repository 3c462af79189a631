"""Readings take their turn while the evaluator takes many partials: no rule on one rack waits for all of them."""

from __future__ import annotations

import asyncio

import polars as pl
import pytest

from benchmarks.streams.evaluate import stage_of
from broker.health import Counted
from schemas import arrow, partial
from schemas.message import Message
from schemas.meter import METER
from schemas.partial import PARTIAL, Envelope, Partial
from schemas.registry import assign
from schemas.subject import MeterLevel
from streams import evaluate_app
from streams.evaluate import PARTIALS_TOPIC, POWER_TOPIC, Evaluator
from streams.reading import Reading
from tests.schemas.small_facility import powered
from tests.streams.logs import START, metered
from tests.streams.test_meter_intake import GOOD

REGISTRY = assign(powered())
FEED = REGISTRY.meters.filter(level=MeterLevel.FEED)["meter"].item()


class Kafka:
    """Hold what came of the readings and what was sent, in order."""

    def __init__(self) -> None:
        self.reading, self.counted, self.topic_ids = Reading(), Counted(), {}
        self.reading.assign({(POWER_TOPIC, 0)}, {})
        self.sent: list[str] = []

    def came(self, topic: str) -> list[Message]:
        return self.reading.take_of(topic)

    def at_log_end(self) -> set[tuple[str, int]]:
        return set()

    async def send(self, topic: str, *_: object) -> asyncio.Future[None]:
        self.sent.append(topic)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def flush(self) -> None:
        pass

    def require_place(self) -> None:
        pass


def reading_over_the_limit() -> Message:
    row = GOOD | {"time": START, "meter": FEED, "level": 5, "current_amps": 110.0, "power_watts": 70_000.0}
    physical = {name: pl.Int64 if name == "time" else dtype for name, dtype in METER.polars.items()}
    value = arrow.encode(METER, pl.DataFrame([row], schema=physical, orient="row").cast(METER.polars))
    return Message(POWER_TOPIC, 0, 0, START, b"k", value, tuple(arrow.headers(METER)))


def closing(offset: int, second: int) -> Message:
    frame = pl.DataFrame([metered(second, FEED, 1_000.0)], schema=PARTIAL.polars, orient="row")
    start = START + second * 1_000_000
    value, headers = partial.encode(
        Partial(Envelope(POWER_TOPIC, 0, 0, 0, "closing", start, start + 1_000_000, start), frame)
    )
    return Message(PARTIALS_TOPIC, 0, offset, start, b"k", value, tuple(headers))


def staged() -> tuple[evaluate_app.EvaluateStage, Kafka]:
    """Return a stage of one partition, and what it reads from and writes to."""
    stage, kafka = stage_of(REGISTRY), Kafka()
    stage._engine, stage._producer, stage._evaluator = kafka, kafka, Evaluator(stage._watches, [(POWER_TOPIC, 0)])
    return stage, kafka


def drained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Drain three partials while a reading comes in; return the topics of what was sent, in order."""
    monkeypatch.setattr(evaluate_app, "BYTES_AT_ONCE", 1)
    stage, kafka = staged()
    kafka.reading.append(reading_over_the_limit())
    asyncio.run(stage.drain([closing(offset, offset) for offset in range(3)]))
    return kafka.sent


def test_a_reading_is_judged_between_partials(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = drained(monkeypatch)
    assert sent[0] == "alerts.v1"
    assert "windows.site.v1" in sent[1:]


@pytest.mark.parametrize("seconds_at_once", [1, 240])
def test_a_backlog_is_told_as_it_is_taken_and_not_held_in_memory(
    monkeypatch: pytest.MonkeyPatch, seconds_at_once: int
) -> None:
    """Fails with one close a drain, and with minutes told as slowly as in quiet times.

    An evaluator that was away for hours would keep them decoded, and note no place until it has told all.
    """
    stage, _ = staged()
    subjects = len(stage._evaluator.sums.watch.members.subjects)
    monkeypatch.setattr(evaluate_app, "BYTES_AT_ONCE", 1)
    monkeypatch.setattr("streams.sum_rules.ROWS_AT_ONCE", seconds_at_once * subjects)
    monkeypatch.setattr("streams.sum_rules.ROWS_OF_MINUTES", 1)
    monkeypatch.setattr("streams.devices.SUBJECTS_A_MESSAGE", 1)
    asyncio.run(stage.drain([closing(offset, offset) for offset in range(600)]))
    assert not stage._evaluator.sums.closings.is_behind
    assert len({due.minute for due in stage._evaluator.sums.devices._due}) <= 2
