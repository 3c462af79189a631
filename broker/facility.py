"""The facility on Kafka: publish a version, read the one in force."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from broker.consumer import read_to_end
from broker.producer import Producer
from schemas.errors import ConfigurationError
from schemas.facility import Facility
from schemas.message import Message
from schemas.registry import Registry, assign
from schemas.site_frames import SiteFrames

TOPIC = "facility.v1"
HEADERS = (("content-type", b"application/json"), ("schema", b"facility/1"))
log = logging.getLogger(__name__)


async def publish(
    bootstrap: str, facility: Facility, effective_from: datetime | None = None, *, topic: str = TOPIC
) -> Registry:
    """Give ids to `facility`, send one message for every site that changed, and return all sites in force.

    Nothing is sent where nothing changed, so publishing twice is publishing once. `effective_from` is cut to
    the whole second (naive = UTC) and is the next one where it is not given.
    Raises UnavailableError where Kafka or the topic is away.
    """
    previous = await _read(bootstrap, topic)
    registry = assign(facility, previous, effective_from=effective_from or _next_second())
    before = {part.site: part for part in previous.parts}
    changed = [part for part in registry.parts if part is not before.get(part.site)]
    async with Producer(bootstrap) as producer:
        for part in changed:
            await producer.send(topic, part.to_json(), part.site.encode(), HEADERS)
        await producer.flush(within_secs=30)
    return registry


async def read_registry(bootstrap: str, *, topic: str = TOPIC) -> Registry:
    """Return the newest version of every site.

    A message that is not a facility is logged and passed over: the version before it stays in force.
    Raises ConfigurationError where no site was ever published, UnavailableError where Kafka is away.
    """
    registry = await _read(bootstrap, topic)
    if not registry.parts:
        raise ConfigurationError(
            f"no facility is published on {topic} at {bootstrap}; "
            "write one with `wattline init` and send it with `wattline facility publish FILE`"
        )
    return registry


async def _read(bootstrap: str, topic: str) -> Registry:
    messages = await read_to_end(bootstrap, topic)
    return Registry.of(_readable(messages))


def _readable(messages: list[Message]) -> Iterator[SiteFrames]:
    for message in messages:
        try:
            part = SiteFrames.from_json(message.value or b"")
        except ConfigurationError as error:
            log.error("%s passed over: %s", message.place, error)
            continue
        if message.key == part.site.encode():
            yield part
        else:
            log.error("%s passed over: its key %.80r is not its site %r", message.place, message.key, part.site)


def _next_second() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
