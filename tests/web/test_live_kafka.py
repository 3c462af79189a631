"""The live state beside a Kafka whose topics are made anew: what is shown is never that of the old ones."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from broker.embedded import EmbeddedKafka
from broker.facility import publish
from schemas.errors import UnavailableError
from schemas.facility import load
from tests.streams.outage import FACILITY, create, delete
from wattline.scales import facility_file
from web.live import kept_up, state_now


def test_a_facility_topic_made_anew_as_long_as_it_was_ends_what_follows_the_old_one(
    fresh_kafka: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails where only offsets tell: in the new log as in the old there is nothing after the first message."""
    monkeypatch.setattr("broker.topic_ids.ASK_EVERY_SECS", 0.2)
    bootstrap = fresh_kafka.bootstrap
    registry = asyncio.run(publish(bootstrap, load(facility_file("2MW"))))

    async def follow_on() -> None:
        now = datetime.now(UTC)
        async with asyncio.timeout(60), kept_up(await state_now(bootstrap, registry, now), bootstrap, now):
            await asyncio.sleep(2)
            await asyncio.to_thread(delete, bootstrap, FACILITY)
            await asyncio.to_thread(create, bootstrap, FACILITY)
            await publish(bootstrap, load(facility_file("2MW")))
            await asyncio.sleep(60)

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(follow_on())
    (reason,) = raised.value.exceptions
    assert isinstance(reason, UnavailableError)
    assert f"topic {FACILITY} at {bootstrap} was made anew" in str(reason)
