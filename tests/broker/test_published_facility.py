"""The facility on Kafka: published once, read by all, undisturbed by garbage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import pytest

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.facility import publish, read_registry
from broker.producer import Producer
from schemas.errors import ConfigurationError
from schemas.facility import load
from schemas.subject import SubjectKind
from tests.schemas.small_facility import facility, site
from wattline.scales import facility_file


@pytest.fixture
def topic(new_topic: Callable[..., str]) -> str:
    return new_topic("facility", cleanup="compact", max_message_bytes=8_388_608)


def test_a_campus_of_150_mw_goes_through_kafka_and_comes_back_as_it_was(kafka: EmbeddedKafka, topic: str) -> None:
    halo = load(facility_file("150MW"))
    sent = asyncio.run(publish(kafka.bootstrap, halo, datetime(2026, 1, 31), topic=topic))
    read = asyncio.run(read_registry(kafka.bootstrap, topic=topic))
    assert read.slots.equals(sent.slots)
    assert read.sums.equals(sent.sums)
    assert (read.version, read.effective_from) == (1, datetime(2026, 1, 31))


def test_publishing_again_sends_nothing_and_a_change_sends_only_its_site(kafka: EmbeddedKafka, topic: str) -> None:
    two_sites = [site({"r01": {"type": "box", "ids": ["k01"]}}, name=name) for name in ("ruh", "dmm")]
    grown = [two_sites[0], site({"r01": {"type": "box", "ids": ["k02", "k01"]}}, name="dmm")]
    asyncio.run(publish(kafka.bootstrap, facility(*two_sites), topic=topic))
    asyncio.run(publish(kafka.bootstrap, facility(*two_sites), topic=topic))
    registry = asyncio.run(publish(kafka.bootstrap, facility(*grown), topic=topic))
    assert [message.key for message in asyncio.run(read_to_end(kafka.bootstrap, topic))] == [b"dmm", b"ruh", b"dmm"]
    assert dict(registry.sites["path", "version"].rows()) == {"dmm": 2, "ruh": 1}
    assert registry.id_of(SubjectKind.RACK, "dmm/h1/r01/k02") == 3


def test_garbage_on_the_topic_leaves_the_version_before_in_force(
    kafka: EmbeddedKafka, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(publish(kafka.bootstrap, facility(site({"r01": {"type": "box", "ids": ["k01"]}})), topic=topic))
    value = asyncio.run(read_to_end(kafka.bootstrap, topic))[0].value

    async def litter() -> None:
        async with Producer(kafka.bootstrap) as producer:
            for key, garbage in ((b"ruh", b"{"), (b"ruh", b"\xff" * 100), (b"ruh", b"x"), (b"dmm", value)):
                await producer.send(topic, garbage, key)
            await producer.flush()

    asyncio.run(litter())
    registry = asyncio.run(read_registry(kafka.bootstrap, topic=topic))
    assert (registry.version, registry.sites["path"].to_list()) == (1, ["ruh"])
    assert f"{topic}/0/1 passed over: a value on facility.v1 is not a facility of this version" in caplog.text
    assert f"{topic}/0/4 passed over: its key b'dmm' is not its site 'ruh'" in caplog.text


def test_a_topic_without_a_facility_says_what_to_do(kafka: EmbeddedKafka, topic: str) -> None:
    with pytest.raises(ConfigurationError, match="wattline facility publish FILE"):
        asyncio.run(read_registry(kafka.bootstrap, topic=topic))
