"""The ids that Kafka gives to topics: one that is deleted and made anew keeps its name and changes its id.

A client that knows names only reads on in the new log as if it were the old one (traps.md 39), and aiokafka
asks for metadata of a version that has no ids. So this asks for the version that has them.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from io import BytesIO
from typing import NamedTuple, NoReturn

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from broker.admin import admin
from schemas.errors import UnavailableError

NONE = bytes(16)
ASK_EVERY_SECS = 5.0


class Uuid(AbstractType[bytes]):
    """Carry an id as its sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """Return the bytes as they are."""
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        """Return the next sixteen bytes."""
        return data.read(16)


class Metadata12(Response):
    """Hold Kafka's answer Metadata in version 12, the first that topics are known by id in."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AskMetadata12(RequestStruct):
    """Ask for the metadata of topics by name."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = Metadata12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdsRequest(Request[AskMetadata12]):
    """Build the question for the connection that it goes out on."""

    API_KEY = 3

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: type[AskMetadata12]) -> AskMetadata12:
        """Return the request."""
        return request_struct_class([(NONE, name, {}) for name in self._names], False, False, {})


class Known(NamedTuple):
    """Say what a topic is: its id as Kafka's tools write it, and how many partitions it has."""

    topic_id: str
    partitions: int


async def topics_now(client: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, Known]:
    """Return what each topic named is; one that does not exist is left out."""
    answer = await client._send_request(TopicIdsRequest(names))
    found = (topic[:5] for topic in answer.topics)
    return {
        name: Known(_text(topic_id), len(partitions))
        for error, name, topic_id, _, partitions in found
        if error == 0 and topic_id != NONE
    }


async def refuse_another(bootstrap: str, names: Iterable[str]) -> NoReturn:
    """Ask again and again; raise UnavailableError once one of these topics is not the one it was.

    A broker that is away is waited for: that is told elsewhere.
    """
    names, before = list(names), dict[str, Known]()
    while True:
        try:
            async with admin(bootstrap) as client:
                while True:
                    now = await topics_now(client, names)
                    for name, found in now.items():
                        if before.setdefault(name, found).topic_id != found.topic_id:
                            raise _AnotherError(f"topic {name} at {bootstrap} was made anew; all of it is read again")
                    await asyncio.sleep(ASK_EVERY_SECS)
        except _AnotherError:
            raise
        except (UnavailableError, KafkaError, OSError, TimeoutError):
            await asyncio.sleep(ASK_EVERY_SECS)


class _AnotherError(UnavailableError):
    """Report a topic that was made anew."""


def _text(topic_id: bytes) -> str:
    return base64.urlsafe_b64encode(topic_id).decode().rstrip("=")
