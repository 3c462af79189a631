"""Notice topics that are gone, were made anew under their names or given partitions: a client sees silence.

A log that was made anew and has grown past our position reads on as if nothing had happened (traps.md 39).
Its id is the witness: it travels beside every committed offset and in the evaluator's snapshot, is compared
there at each start, and asked for again every two seconds while a worker runs.

Of readings any number of partitions is read; a topic that is one log in the table is no order any more with two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError

from broker.admin import admin, require_topics
from broker.consumer import assigned
from broker.facility import TOPIC as FACILITY
from broker.topic_ids import Known, topics_now
from schemas.errors import UnavailableError
from schemas.topics import BY_NAME
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


async def until_there(bootstrap: str, topics: Iterable[str], say: Callable[[str], None]) -> None:
    """Wait for a broker that has these topics; say once in a while what is waited for."""
    names, said = list(topics), -SAY_AGAIN_SECS
    while True:
        try:
            await require_topics(bootstrap, names)
            return
        except UnavailableError as error:
            if time.monotonic() - said >= SAY_AGAIN_SECS:
                said = time.monotonic()
                say(f"waiting: {error}")
            await asyncio.sleep(error.retry_after_secs)


async def topics_of(bootstrap: str, topics: Iterable[str]) -> dict[str, Known]:
    """Return what each topic is that exists; raise UnavailableError where no broker answers."""
    async with admin(bootstrap) as client:
        return await topics_now(client, topics)


def require_one_log(known: Mapping[str, Known]) -> None:
    """Raise UnavailableError for a topic that must be one log, and has several partitions."""
    for topic, found in sorted(known.items()):
        if found.partitions > 1 and _is_one_log(topic):
            raise UnavailableError(
                f"topic {topic} has {found.partitions} partitions and must be one log with one: what it says has no "
                f"order any more; delete it and start `wattline run` again, which makes it as it was"
            )


def _is_one_log(topic: str) -> bool:
    return topic in BY_NAME and BY_NAME[topic].partitions == 1


class TopicWatch:
    """Watch the topics of a member of `group`; `known` says what they were at its start, `read` which it reads.

    With `counts` the member is made for the partitions that there were, and for no others.
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        known: Mapping[str, Known],
        read: Collection[str],
        say: Callable[[str], None],
        *,
        counts: bool = False,
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._known = known
        self._read = read
        self._say = say
        self._counts = counts
        self._said = -SAY_AGAIN_SECS

    async def until_replaced(self, join_again: Callable[[], None]) -> str:
        """Return a sentence when a topic is another one than it was; say once in a while that one is gone.

        Where partitions are dealt to nobody, or such as are no more, `join_again` is called. A broker that is away is
        waited for: that is told elsewhere.
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
            if sentence := await self._replaced(now):
                return sentence
            self._tell_gone(self._known.keys() - now.keys())
            if await self._is_dealt_wrongly(client, now):
                join_again()

    async def _replaced(self, now: Mapping[str, Known]) -> str:
        for topic, found in now.items():
            before = self._known[topic]
            if found.topic_id != before.topic_id and not await self._is_facility_still_to_come(topic):
                return (
                    f"topic {topic} was made anew (id {before.topic_id} before, {found.topic_id} now): "
                    f"starting again with it"
                )
            is_fixed = self._counts or _is_one_log(topic)
            if is_fixed and found.topic_id == before.topic_id and found.partitions != before.partitions:
                return (
                    f"topic {topic} has {found.partitions} partitions now, {before.partitions} before: "
                    f"starting again with all of them"
                )
        return ""

    async def _is_facility_still_to_come(self, topic: str) -> bool:
        """Tell whether a topic is that of the facility and has none: the one that was read counts until then."""
        if topic != FACILITY:
            return False
        async with assigned(self._bootstrap, topic, "latest") as consumer:
            ends = await consumer.end_offsets(list(consumer.assignment()))
        if any(ends.values()):
            return False
        self._tell(
            f"waiting: topic {topic} was made anew and holds no facility: the one before it counts until "
            f"`wattline facility publish FILE` sends one"
        )
        return True

    def _tell_gone(self, gone: Collection[str]) -> None:
        if gone:
            topics = ", ".join(sorted(gone))
            self._tell(
                f"waiting: topic {topics} is gone from the Kafka at {self._bootstrap}: `wattline run` creates it"
            )

    def _tell(self, sentence: str) -> None:
        if time.monotonic() - self._said >= SAY_AGAIN_SECS:
            self._said = time.monotonic()
            self._say(sentence)

    async def _is_dealt_wrongly(self, client: AIOKafkaAdminClient, now: Mapping[str, Known]) -> bool:
        """Tell whether a partition is assigned to no member, or a member has one that is no more.

        Trap: a static member that is restarted gets its old assignment without a rebalance, and no client is
        then the one that would notice that a topic has come, grown or shrunk.
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
        return {at for at in assigned if at[0] in read} != wanted
