"""Topics, made before anything writes or reads: clients here never create one by accident (traps.md 7).

`python -m broker.admin HOST:PORT [REPLICATION]` makes the product's topics (docker-compose does it so).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from broker import client_logs
from schemas.errors import ConfigurationError, UnavailableError, WattlineError
from schemas.topics import TOPICS, Topic

CONNECT_WITHIN_SECS = 5.0
READY_WITHIN_SECS = 20.0
KNOWN_WITHIN_SECS = 1.0

Answer = TypeVar("Answer")


async def create_topics(bootstrap: str, *, replication: int = 1, topics: Iterable[Topic] = TOPICS) -> None:
    """Create the topics that are missing, check those that exist, and return when all have leaders.

    Idempotent. Raises ConfigurationError where an existing topic differs in partitions or settings,
    UnavailableError where the broker cannot be reached.
    """
    wanted = {topic.name: topic for topic in topics}
    async with admin(bootstrap) as client:
        existing = await _partitions(client)
        await _create(client, [wanted[name] for name in wanted if name not in existing], replication)
        await _wait_for_leaders(client, wanted)
        await _check(client, [wanted[name] for name in wanted if name in existing], existing)


async def partitions(bootstrap: str) -> dict[str, int]:
    """Return the number of partitions by topic; raise UnavailableError within seconds where no broker answers."""
    async with admin(bootstrap) as client:
        return await _partitions(client)


async def require_topics(bootstrap: str, names: Iterable[str]) -> dict[str, int]:
    """Return the number of partitions of each topic named; raise UnavailableError for one that is missing."""
    names = list(names)
    async with admin(bootstrap) as client:
        # For a moment: of several nodes some hear of a new topic later than the one that made it.
        async for existing in _again_and_again(KNOWN_WITHIN_SECS, lambda: _partitions(client)):
            if existing.keys() >= set(names):
                return {name: existing[name] for name in names}
    missing = ", ".join(name for name in names if name not in existing)
    raise UnavailableError(
        f"topic {missing} does not exist on the Kafka at {bootstrap}, which has {len(existing)} topics: "
        f"create them first (`wattline run` and `wattline kafka start` do)"
    )


async def largest_message_bytes(bootstrap: str) -> dict[str, int]:
    """Return the `max.message.bytes` of every topic."""
    async with admin(bootstrap) as client:
        settings = await _settings(client, list(await _partitions(client)))
    return {topic: int(found["max.message.bytes"]) for topic, found in settings.items()}


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect an admin client for the block; raise UnavailableError within seconds where no broker answers."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    try:
        with client_logs.silenced():
            await asyncio.wait_for(client.start(), CONNECT_WITHIN_SECS)
    except (KafkaError, OSError, TimeoutError) as error:
        await client.close()
        raise UnavailableError(
            f"no Kafka answers at {bootstrap} ({type(error).__name__}): start one (`wattline kafka start`) or name "
            f"another with --bootstrap or WATTLINE_BOOTSTRAP"
        ) from error
    try:
        yield client
    finally:
        await client.close()


async def _partitions(client: AIOKafkaAdminClient) -> dict[str, int]:
    return {topic["topic"]: len(topic["partitions"]) for topic in await client.describe_topics()}


async def _create(client: AIOKafkaAdminClient, topics: list[Topic], replication: int) -> None:
    if not topics:
        return
    new = [NewTopic(topic.name, topic.partitions, replication, topic_configs=topic.settings()) for topic in topics]
    response = await client.create_topics(new)
    for name, code, message, *_ in response.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise ConfigurationError(
                f"topic {name} could not be created with replication {replication}: "
                f"{message or for_code(code).__name__}"
            )


async def _wait_for_leaders(client: AIOKafkaAdminClient, wanted: Mapping[str, Topic]) -> None:
    without = list(wanted)
    async for described in _again_and_again(READY_WITHIN_SECS, client.describe_topics):
        partitions_of = {topic["topic"]: topic["partitions"] for topic in described}
        without = [name for name in wanted if not _has_leaders(partitions_of.get(name))]
        if not without:
            return
    raise UnavailableError(
        f"topic {without[0]} has no leader after {READY_WITHIN_SECS:.0f} s: is one of Kafka's nodes down?"
    )


def _has_leaders(described: list[dict] | None) -> bool:
    return bool(described) and all(partition["leader"] >= 0 for partition in described)


async def _check(client: AIOKafkaAdminClient, topics: list[Topic], existing: Mapping[str, int]) -> None:
    """Compare topics that were there before with the table."""
    settings = await _settings(client, [topic.name for topic in topics])
    for topic in topics:
        found = {"partitions": str(existing[topic.name]), **settings.get(topic.name, {})}
        for setting, value in {"partitions": str(topic.partitions), **topic.settings()}.items():
            if found.get(setting) != value:
                raise ConfigurationError(
                    f"topic {topic.name} has {setting} = {found.get(setting)}, Wattline's table says {value}: "
                    f"alter or delete the topic, or use another Kafka"
                )


async def _settings(client: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Return the settings by topic; topics that are deleted meanwhile are left out."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    async for responses in _again_and_again(KNOWN_WITHIN_SECS, lambda: client.describe_configs(resources)):
        for code, _message, _kind, name, entries in (each for response in responses for each in response.resources):
            if code == 0:
                found[name] = {entry[0]: entry[1] for entry in entries}
        if found.keys() >= set(names):
            break
    return found


async def _again_and_again(within_secs: float, ask: Callable[[], Awaitable[Answer]]) -> AsyncIterator[Answer]:
    """Yield what is answered, time after time, until it is too late; the caller leaves when it is content."""
    deadline = time.monotonic() + within_secs
    yield await ask()
    while time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        yield await ask()


if __name__ == "__main__":
    try:
        asyncio.run(create_topics(sys.argv[1], replication=int(sys.argv[2]) if len(sys.argv) > 2 else 1))
    except WattlineError as problem:
        sys.exit(f"wattline: {problem}")
