"""What the streams cost as the campus grows: both stages in process, at one, four and sixteen campuses.

A campus sixteen times as large has a million GPU readings a second, which broker, load and workers cannot take
together on two cores. So here the real stages get what Kafka would bring them, in the drains that they make live:
all but Kafka and Faust. Twenty seconds are measured, the end of a minute among them.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import NamedTuple
from zlib import crc32

from benchmarks.campus import POWER_TOPIC, SECOND, START, Campus, Timed, campus_registry
from benchmarks.streams.evaluate import STREAMS, Acknowledged, no_version, nothing, stage_of
from broker.health import Counted
from schemas.message import Message
from schemas.registry import Registry
from schemas.timeline import Timeline
from schemas.topics import BY_NAME
from streams.in_force import InForce
from streams.roll_up import RollUp
from streams.roll_up_app import PARTIALS_TOPIC, RollUpStage
from streams.stage import EVALUATE, ROLL_UP
from streams.unregistered import Unregistered

FIRST = START + 44
WARM_UP_SECONDS = 8
SECONDS = 20
SNAPSHOT_EVERY = 2
"""Seconds of the campus between snapshots, as live."""


class Cost(NamedTuple):
    """CPU seconds of one campus of so many racks over so many seconds of it."""

    racks: int
    seconds: int
    roll_up: float
    evaluate: float

    @property
    def micros_a_rack_second(self) -> float:
        """Return the CPU µs of both for a rack and second."""
        return (self.roll_up + self.evaluate) / (self.racks * self.seconds) * 1e6


class Sender:
    """Stand for the producer; keep what goes to `windows.rack.v1`, count the rest."""

    def __init__(self) -> None:
        self.partials: list[Message] = []
        self._next = 0

    async def send(
        self, topic: str, value: bytes, key: bytes, headers: Iterable[tuple[str, bytes]] = ()
    ) -> Acknowledged:
        """Take a message as Kafka would."""
        if topic == PARTIALS_TOPIC:
            self.partials.append(Message(topic, 0, self._next, START * SECOND, key, value, tuple(headers)))
            self._next += 1
        return Acknowledged()

    async def flush(self) -> None:
        """Be done at once."""

    def empty(self) -> list[Message]:
        """Return the partials and forget them."""
        partials, self.partials = self.partials, []
        return partials


class Log:
    """Give messages their places, as Kafka does."""

    def __init__(self) -> None:
        self._next = dict.fromkeys(STREAMS, 0)

    def append(self, made: Timed) -> Message:
        """Return the message as a consumer sees it."""
        at = (made.topic, crc32(made.key) % BY_NAME[made.topic].partitions)
        offset = self._next[at]
        self._next[at] += 1
        return Message(*at, offset, made.at, made.key, made.value, tuple(made.headers))


def roll_up_stage(registry: Registry) -> RollUpStage:
    """Return the stage as it is when it has opened and has all partitions, on nothing but what it is given."""

    stage, timeline = RollUpStage("", "event"), Timeline.always(registry)
    stage._engine = SimpleNamespace(counted=Counted(), at_log_end=set)
    stage._facility = SimpleNamespace(timeline=timeline, hear=no_version)
    stage._job_log = SimpleNamespace(hear=nothing, next_offset=0)
    stage._site, stage._unregistered, stage._producer = b"", Unregistered(), Sender()
    stage._roll_up = RollUp(InForce.of(timeline), clock="event")
    for at in STREAMS:
        stage._roll_up.assign(at, "", 0)
    return stage


def measure(times: int, warm_up_seconds: int = WARM_UP_SECONDS, seconds: int = SECONDS) -> Cost:
    """Return what `times` campuses cost."""
    return asyncio.run(_measure(times, warm_up_seconds, seconds))


async def _measure(times: int, warm_up_seconds: int, seconds: int) -> Cost:
    registry = campus_registry(times)
    campus, log, roll_up, evaluate = Campus(registry), Log(), roll_up_stage(registry), stage_of(registry)
    evaluate._producer = Sender()
    rolled = judged = 0.0
    gc.collect()
    gc.freeze()
    for nth in range(warm_up_seconds + seconds):
        if nth == warm_up_seconds:
            rolled = judged = 0.0
        # The stage asks the clock on the wall; what is made here takes longer than a second.
        evaluate._written_at = 0.0 if nth % SNAPSHOT_EVERY == 0 else time.monotonic()
        for drain in drains([log.append(made) for made in campus.messages(FIRST + nth)]):
            began = time.process_time()
            await roll_up.drain(drain)
            rolled += time.process_time() - began
            readings = [message for message in drain if message.topic == POWER_TOPIC]
            judged += await _judged(evaluate, readings, roll_up._producer.empty())
    gc.unfreeze()
    return Cost(len(registry.racks), seconds, rolled, judged)


async def _judged(stage, readings: list[Message], partials: list[Message]) -> float:
    """Give the evaluator readings at once, and partials a drain later; return the CPU seconds."""
    spent, parts = 0.0, round(ROLL_UP.hold_secs / EVALUATE.drain_secs)
    size = -(-len(readings) // parts) or 1
    for part in range(parts):
        came = [*readings[part * size : (part + 1) * size], *(partials if part == parts - 1 else ())]
        began = time.process_time()
        await stage.drain(came)
        spent += time.process_time() - began
        stage._written_at = time.monotonic()
    return spent


def drains(messages: list[Message]) -> Iterator[list[Message]]:
    """Yield the messages of one second in the drains in which roll up finds them."""
    count = round(1 / ROLL_UP.hold_secs)
    found: list[list[Message]] = [[] for _ in range(count)]
    for message in messages:
        found[message.appended % SECOND * count // SECOND].append(message)
    yield from found
