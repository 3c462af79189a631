"""The log of the facility: asked only when a reading could be counted by a version that is not known."""

from __future__ import annotations

import asyncio
import time

import pytest

from broker.embedded import EmbeddedKafka
from broker.facility import TOPIC, publish
from broker.facility_log import facility_log
from broker.producer import Producer
from schemas.admission import Clock
from schemas.admission_rules import CLOCK_AHEAD_SECS
from schemas.errors import ConfigurationError
from schemas.facility import Facility
from schemas.registry import assign
from schemas.timeline import LEAD_SECS, SECOND
from tests.schemas.small_facility import facility, site

SPARE = (LEAD_SECS - CLOCK_AHEAD_SECS) * SECOND


def plan(*racks: str) -> Facility:
    return facility(site({"r01": {"type": "box", "ids": list(racks)}}))


async def listen(bootstrap: str, clock: Clock) -> list[tuple[bool, int]]:
    """Return what each question says, and how many versions are known after it."""
    said = []
    async with facility_log(bootstrap, clock) as log:
        now = time.time_ns() // 1000
        said.append((await log.hear(now), len(log.timeline.versions)))
        await publish(bootstrap, plan("k01", "k02"))
        said.append((await log.hear(now + SPARE), len(log.timeline.versions)))
        said.append((await log.hear(now + SPARE + 1), len(log.timeline.versions)))
        await publish(bootstrap, plan("k01", "k02", "k03"))
        said.append((await log.catch_up(), len(log.timeline.versions)))
    return said


@pytest.mark.parametrize(
    ("clock", "said"),
    [
        ("wall", [(False, 1), (False, 1), (True, 2), (True, 3)]),
        ("event", [(False, 1), (True, 2), (False, 2), (True, 3)]),
    ],
)
def test_versions_are_heard_before_what_they_count(
    fresh_kafka: EmbeddedKafka, clock: Clock, said: list[tuple[bool, int]]
) -> None:
    """On the clock `wall` nothing counts sooner than LEAD_SECS after its append; on `event` it may at once."""
    asyncio.run(publish(fresh_kafka.bootstrap, plan("k01")))
    assert asyncio.run(listen(fresh_kafka.bootstrap, clock)) == said


QUESTIONS = 8
A_FETCH_WAITS_SECS = 0.5


async def ask(bootstrap: str) -> float:
    """Return how long some questions take, each of which Kafka is asked."""
    async with facility_log(bootstrap, "event") as log:
        now, began = time.time_ns() // 1000, time.monotonic()
        for nth in range(QUESTIONS):
            await log.hear(now + nth)
        return time.monotonic() - began


def test_a_question_does_not_wait_for_a_fetch(fresh_kafka: EmbeddedKafka) -> None:
    """A drain waits for the answer, and with it every alert: a fetch under way would hold it up for half a second."""
    asyncio.run(publish(fresh_kafka.bootstrap, plan("k01")))
    assert asyncio.run(ask(fresh_kafka.bootstrap)) < QUESTIONS * A_FETCH_WAITS_SECS / 4


def test_without_a_facility_it_says_what_to_do(fresh_kafka: EmbeddedKafka) -> None:
    with pytest.raises(ConfigurationError, match="wattline facility publish FILE"):
        asyncio.run(listen(fresh_kafka.bootstrap, "wall"))


def test_a_version_with_ids_of_another_site_is_told_and_the_facility_stays_as_it_was(
    fresh_kafka: EmbeddedKafka, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails where the log of versions passes it over without a word, as whoever runs the workers sees none else."""
    asyncio.run(publish(fresh_kafka.bootstrap, plan("k01")))
    (other,) = assign(facility(site({"r01": {"type": "box", "ids": ["k01"]}}, name="dmm"))).parts

    async def sites() -> list[str]:
        async with Producer(fresh_kafka.bootstrap) as producer:
            await producer.send(TOPIC, other.to_json(), b"dmm")
            await producer.flush()
        async with facility_log(fresh_kafka.bootstrap, "wall") as log:
            return [part.site for part in log.timeline.newest.parts]

    assert asyncio.run(sites()) == ["ruh"]
    assert "version 1 of site dmm is not in force, what was before it stays: facility.v1: one id was" in caplog.text
