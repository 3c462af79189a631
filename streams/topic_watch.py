"""Notice topics that are gone, or were made anew under their names: to a client both look like silence.

A log that was made anew and has grown past our position reads on as if nothing had happened (traps.md 39).
Its id is the witness: it travels beside every committed offset and in the evaluator's snapshot, is compared
there at each start, and asked for again every two seconds while a worker runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError

from broker.admin import admin
from broker.topic_ids import Known, topics_now
from schemas.errors import UnavailableError
from streams.stage import Place

ASK_EVERY_SECS = 2.0
SAY_AGAIN_SECS = 10.0
MARK = " topic="


def marked(place: Place, topic_id: str) -> Place:
    """Return a place whose note says which topic its offset is of."""
    return place._replace(note=f"{place.note}{MARK}{topic_id}")


def unmarked(place: Place) -> tuple[Place, str]:
    """Return a place as its stage noted it, and the id of the topic that it is of ("" = not said)."""
    note, _, topic_id = place.note.partition(MARK)
    return place._replace(note=note), topic_id


async def topics_of(bootstrap: str, topics: Iterable[str]) -> dict[str, Known]:
    """Return what each topic is that exists; raise UnavailableError where no broker answers."""
    async with admin(bootstrap) as client:
        return await topics_now(client, topics)


class TopicWatch:
    """Watch the topics of a member of `group`; `known` says what they were at its start, `read` which it reads."""

    def __init__(
        self, bootstrap: str, group: str, known: Mapping[str, Known], read: Collection[str], say: Callable[[str], None]
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._known = known
        self._read = read
        self._say = say
        self._said = -SAY_AGAIN_SECS

    async def until_replaced(self, join_again: Callable[[], None]) -> str:
        """Return a sentence when a topic is another one than it was; say once in a while that one is gone.

        Where partitions are nobody's, `join_again` is called. A broker that is away is waited for: that is told
        elsewhere.
        """
        while True:
            try:
                async with admin(self._bootstrap) as client:
                    return await self._ask(client, join_again)
            except (UnavailableError, KafkaError, OSError, TimeoutError):
                await asyncio.sleep(ASK_EVERY_SECS)

    async def _ask(self, client: AIOKafkaAdminClient, join_again: Callable[[], None]) -> str:
        while True:
            await asyncio.sleep(ASK_EVERY_SECS)
            now = await topics_now(client, self._known)
            if sentence := self._replaced(now):
                return sentence
            self._tell_gone(self._known.keys() - now.keys())
            if await self._is_anything_nobodys(client, now):
                join_again()

    def _replaced(self, now: Mapping[str, Known]) -> str:
        for topic, found in now.items():
            before = self._known[topic]
            if found.topic_id != before.topic_id:
                return (
                    f"topic {topic} was made anew (id {before.topic_id} before, {found.topic_id} now): "
                    f"starting again with it"
                )
        return ""

    def _tell_gone(self, gone: Collection[str]) -> None:
        if gone and time.monotonic() - self._said >= SAY_AGAIN_SECS:
            self._said = time.monotonic()
            topics = ", ".join(sorted(gone))
            self._say(f"waiting: topic {topics} is gone from the Kafka at {self._bootstrap}: `wattline run` creates it")

    async def _is_anything_nobodys(self, client: AIOKafkaAdminClient, now: Mapping[str, Known]) -> bool:
        """Tell whether a partition is assigned to no member.

        Trap: a static member that is restarted gets its old assignment without a rebalance, and no client is
        then the one that would notice that a topic has come or grown.
        """
        (described,) = await client.describe_consumer_groups([self._group])
        _, _, state, _, _, members = described.groups[0][:6]
        if state != "Stable":
            return False
        assigned = {
            (topic, number)
            for *_, assignment in (member[:5] for member in members)
            for topic, numbers in (ConsumerProtocol.ASSIGNMENT.decode(assignment).assignment if assignment else ())
            for number in numbers
        }
        read = {topic: found for topic, found in now.items() if topic in self._read}
        wanted = {(topic, number) for topic, found in read.items() for number in range(found.partitions)}
        return bool(wanted - assigned)
