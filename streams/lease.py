"""The lease: which of several machines runs the evaluator. It is the one partition of a topic that stays empty.

On one machine the slot's lock decides, at once. Across machines a consumer group of its own does: whoever is
given the one partition of `streams.lease.v1` may run, the others stand by. Its member id is that of the lock
(streams/slot.py), so that a standby on the same machine takes over a dead holder's lease without waiting;
another machine waits until the holder's session is over.

The lease saves work and noise; it is not what keeps alerts right. A holder that was paused may run on for a
moment beside its successor: both tell the same transitions under the same ids, and an older snapshot only
means more to read again (docs/decisions/0023).
"""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError

from schemas.errors import UnavailableError, WattlineError

TOPIC = "streams.lease.v1"
SESSION_SECS = 6.0
"""A holder that Kafka has not heard of for so long has lost its lease; Kafka's own least, by default."""
LOOK_SECS = 0.5
TRY_AGAIN_SECS = 1.0
SAY_AGAIN_SECS = 10.0
NEVER = 2**31 - 1
log = logging.getLogger("wattline.streams")


class HolderKeeps(AbstractPartitionAssignor):
    """Give the partition to the member that has it; to the one that got it last where several say so."""

    name = "holder-keeps"
    version = 0
    clock = staticmethod(time.time_ns)
    since = 0
    """When this member got the lease; 0 where it has it not."""
    latest = 0
    """The greatest `since` that this member has heard of: its own will be greater, whatever its clock says."""

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Return the assignment of every member."""
        said = {member: _since(members[member].user_data) for member in sorted(members)}
        holder = max(said, key=lambda member: said[member])
        # Told to all, so that whoever gets it next knows what is to be surpassed.
        since = _packed(said[holder] or cls._next())
        return {
            member: ConsumerProtocolMemberAssignment(0, [(TOPIC, [0])] if member == holder else [], since)
            for member in members
        }

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Return what this member tells when it joins: when it got the lease."""
        return ConsumerProtocolMemberMetadata(0, list(topics), _packed(cls.since))

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember when the lease was got, or that it was not."""
        told = _since(assignment.user_data)
        if not assignment.assignment:
            cls.since = 0
        elif not cls.since:
            cls.since = told or cls._next()
        cls.latest = max(cls.latest, cls.since, told)

    @classmethod
    def _next(cls) -> int:
        return max(cls.clock(), cls.latest + 1)


def _packed(since: int) -> bytes:
    return struct.pack(">q", since)


def _since(said: bytes | None) -> int:
    return int(struct.unpack(">q", said)[0]) if said and len(said) == 8 else 0


def _awake_or_not() -> float:
    """Return seconds that go on while the machine sleeps, where there are such."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """Hold the lease in a thread with a loop of its own, so that a long drain does not lose it."""

    def __init__(
        self,
        bootstrap: str,
        app: str,
        member: str,
        lost: Callable[[WattlineError], object],
        clock: Callable[[], float] = _awake_or_not,
    ) -> None:
        self._bootstrap = bootstrap
        self._app = app
        self._member = member
        self._lost = lost
        self._held = threading.Event()
        self._failure: BaseException | None = None
        self._is_standing_by = threading.Event()
        self._clock = clock
        self._looked()

    async def acquire(self, say: Callable[[str], None]) -> None:
        """Return when this process has the lease; say once that another machine has it."""
        threading.Thread(target=self._run, name="lease", daemon=True).start()
        has_said, asked = False, time.monotonic()
        while not self._held.is_set():
            if self._failure:
                raise self._failure
            if self._is_standing_by.is_set() and not has_said:
                has_said = True
                say(f"another machine has the lease of {self._app} ({TOPIC}); standing by until it ends")
            elif not self._is_standing_by.is_set() and time.monotonic() - asked > SAY_AGAIN_SECS:
                asked = time.monotonic()
                say(f"waiting: Kafka at {self._bootstrap} deals nobody the lease of {self._app} ({TOPIC}): is it away?")
            await asyncio.sleep(0.01)

    def _run(self) -> None:
        try:
            asyncio.run(self._keep())
        except BaseException as error:
            self._failure = error
            self._end(f"the lease of {self._app} cannot be kept: {type(error).__name__}: {error}")

    async def _keep(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=f"{self._app}-lease",
            group_id=f"{self._app}-lease",
            group_instance_id=self._member,
            partition_assignment_strategy=[HolderKeeps],
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=int(SESSION_SECS * 1000),
            heartbeat_interval_ms=1000,
            max_poll_interval_ms=NEVER,
            fetch_max_wait_ms=20_000,
        )
        consumer.subscribe([TOPIC], listener=_Listener(self))
        while True:
            try:
                await consumer.start()
                break
            except KafkaError as error:
                log.info("the lease is asked for again: %s", error)
                await asyncio.sleep(TRY_AGAIN_SECS)
        await self._watch_for_pauses()

    async def _watch_for_pauses(self) -> None:
        """End the process where it was paused past its session: another may run by now, and is not to be disturbed."""
        while True:
            await asyncio.sleep(LOOK_SECS)
            self.require()
            self._looked()

    def _looked(self) -> None:
        self._seen, self._used = self._clock(), time.process_time()

    def require(self) -> None:
        """End the process here and now where it was paused past its session; called before anything is written."""
        paused, worked = self._clock() - self._seen, time.process_time() - self._used
        if paused > SESSION_SECS and worked < paused / 2 and self._held.is_set():
            self._end(f"this process was paused for {paused:.0f} s, longer than its session of {SESSION_SECS:.0f} s")

    def given(self, is_mine: bool) -> None:
        """Hear what the group dealt."""
        if is_mine:
            self._looked()
            self._held.set()
        elif self._held.is_set():
            self._end(f"another machine has the lease of {self._app} now")
        else:
            self._is_standing_by.set()

    def _end(self, why: str) -> None:
        if self._held.is_set():
            self._lost(UnavailableError(f"{why}; starting again as its standby"))


class _Listener(ConsumerRebalanceListener):
    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Go on meanwhile: what is dealt next decides."""

    async def on_partitions_assigned(self, assigned: set[Any]) -> None:
        self._lease.given(bool(assigned))
