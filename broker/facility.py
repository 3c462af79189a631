"""The facility on Kafka: publish a version, read the one in force."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from broker.consumer import read_to_end
from broker.producer import Producer
from schemas.admission import Clock
from schemas.errors import ConfigurationError, UnavailableError
from schemas.facility import Facility
from schemas.message import Message
from schemas.registry import Registry, assign
from schemas.site_frames import SiteFrames
from schemas.timeline import LEAD_SECS, Published, Timeline

TOPIC = "facility.v1"
HEADERS = (("content-type", b"application/json"), ("schema", b"facility/1"))
SPARE_SECS = 2
"""What sending a version may take, and our clock may be behind the broker's, for it to count when it says."""
READ_BACK_TIMES = 20
SEND_TRIES = 3
READ_BACK_SECS = 0.25
log = logging.getLogger(__name__)


async def publish(
    bootstrap: str, facility: Facility, effective_from: datetime | None = None, *, topic: str = TOPIC
) -> Registry:
    """Give ids to `facility`, send one message for every site that changed, and return all sites in force.

    Nothing is sent where nothing changed, so publishing twice is publishing once. `effective_from` is cut to
    the whole second (naive = UTC). Where it is not given it is the next one for a first facility, and far
    enough ahead for every worker to hear of a later one (LEAD_SECS); from when a version counts in the end,
    `read_timeline` tells. Of two that publish at the same moment, and so give out the same ids or the same version,
    the later in the log gives out new ones.
    Raises UnavailableError where Kafka or the topic is away.
    """
    previous = await _read(bootstrap, topic)
    moment = effective_from or _in_time(bool(previous.parts))
    registry = assign(facility, previous, effective_from=moment)
    if not await _send(bootstrap, topic, registry, previous):
        return registry
    mine = {site.id for site in facility.sites}
    for _ in range(READ_BACK_TIMES):
        agreed, giving_way = _agreed(published(await read_to_end(bootstrap, topic)))
        if not giving_way:
            break
        if not mine & giving_way:
            await asyncio.sleep(READ_BACK_SECS)
            continue
        known = {part.site: part for part in (*previous.parts, *agreed)}
        before = Registry.of([part for part in known.values() if part.site in mine or part in agreed])
        await _send(bootstrap, topic, assign(facility, before, effective_from=moment), before)
    return await _read(bootstrap, topic)


async def read_timeline(bootstrap: str, clock: Clock, *, topic: str = TOPIC) -> Timeline:
    """Return all versions that the topic still has, with the seconds from which they count.

    Raises ConfigurationError where no site was ever published, UnavailableError where Kafka is away.
    """
    timeline = Timeline.of(published(await read_to_end(bootstrap, topic)), clock)
    if not timeline.versions:
        raise nothing_published(bootstrap, topic)
    return timeline


def nothing_published(bootstrap: str, topic: str = TOPIC) -> ConfigurationError:
    """Return the error of a Kafka that has no facility."""
    return ConfigurationError(
        f"no facility is published on {topic} at {bootstrap}; "
        "write one with `wattline init` and send it with `wattline facility publish FILE`"
    )


async def read_registry(bootstrap: str, *, topic: str = TOPIC) -> Registry:
    """Return the newest version of every site.

    A message that is not a facility is logged and passed over: the version before it stays in force.
    Raises ConfigurationError where no site was ever published, UnavailableError where Kafka is away.
    """
    registry = await _read(bootstrap, topic)
    if not registry.parts:
        raise nothing_published(bootstrap, topic)
    return registry


def _agreed(messages: Iterable[Published]) -> tuple[list[SiteFrames], set[str]]:
    """Return the newest of each site as every worker has it, and the sites whose last message nobody counts by.

    Of two that were made beside each other the one that came into the log first counts.
    """
    timeline, giving_way = Timeline((), "event"), set[str]()
    for each in messages:
        try:
            timeline = timeline.with_(each)
            giving_way.discard(each.part.site)
        except ConfigurationError:
            giving_way.add(each.part.site)
    return list(timeline.newest.parts), giving_way


async def _send(bootstrap: str, topic: str, registry: Registry, previous: Registry) -> bool:
    """Send one message for every site that changed; return whether there was one."""
    before = {part.site: part for part in previous.parts}
    changed = [part for part in registry.parts if part is not before.get(part.site)]
    if changed:
        await _send_parts(bootstrap, topic, changed)
    return bool(changed)


async def _send_parts(bootstrap: str, topic: str, parts: list[SiteFrames]) -> None:
    """Send versions, again where Kafka did not take them: twice the same version is one version.

    A broker under load was seen to answer the first message of a new topic with UNKNOWN_SERVER_ERROR.
    """
    for tries_left in reversed(range(SEND_TRIES)):
        try:
            async with Producer(bootstrap) as producer:
                for part in parts:
                    await producer.send(topic, part.to_json(), part.site.encode(), HEADERS)
                await producer.flush(within_secs=30)
            return
        except UnavailableError:
            if not tries_left:
                raise
            await asyncio.sleep(READ_BACK_SECS)


async def _read(bootstrap: str, topic: str) -> Registry:
    agreed, giving_way = _agreed(published(await read_to_end(bootstrap, topic)))
    for site in sorted(giving_way):
        log.error("%s: the last version of site %s is not in force until it is published again", topic, site)
    return Registry.of(agreed)


def published(messages: Iterable[Message]) -> Iterator[Published]:
    """Yield the versions that messages of the topic carry; what is none is logged and passed over."""
    for message in messages:
        try:
            part = SiteFrames.from_json(message.value or b"")
        except ConfigurationError as error:
            log.error("%s passed over: %s", message.place, error)
            continue
        if message.key == part.site.encode():
            yield Published(part, message.appended)
        else:
            log.error("%s passed over: its key %.80r is not its site %r", message.place, message.key, part.site)


def _in_time(is_later: bool) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=LEAD_SECS + SPARE_SECS if is_later else 1)
