"""Stages for the tests of the engine; `python -m tests.streams.stages KIND BOOTSTRAP APP SLOT TOPIC…` runs one."""

from __future__ import annotations

import asyncio
import re
import sys
import time

from broker import watchdog
from streams import engine, fetch
from streams.lease import Lease
from streams.stage import Place


class Echo:
    """Print what the engine brings, one line a call; commit all of it."""

    writes = ()

    def __init__(self, topics):
        self.topics = tuple(topics)

    async def open(self, engine):
        self.engine = engine

    async def assigned(self, committed):
        print("assigned", sorted((at[1], place) for at, place in committed.items() if place), flush=True)
        return self.start(committed)

    def start(self, committed):
        return {}

    async def dropped(self, partition, offset):
        print("dropped", partition[1], offset, flush=True)

    def ready(self, newest):
        return len(newest)

    def due_at(self):
        return 0.0

    async def drain(self, messages):
        for message in messages:
            print("got", message.partition, message.offset, message.value, flush=True)
            if message.value == b"boom":
                raise ValueError("a value that nobody expected")
            if message.value == b"crash":
                await self.engine.app.consumer.crash(RuntimeError("a service of Faust's died"))
        return {(m.topic, m.partition): Place(m.offset + 1, f"note {m.offset}") for m in messages}

    async def close(self):
        print("closed", flush=True)


class Rewound(Echo):
    """Choose its own place: the log's start, whatever was committed."""

    def start(self, committed):
        return dict.fromkeys(committed, 0)


class Slow(Echo):
    """Take a while for each drain, and little at once, so that every queue before it is full."""

    async def drain(self, messages):
        await asyncio.sleep(0.02)
        return await super().drain(messages)


class HeldDrain(Echo):
    """Hold the drain at a message that says so through two rebalances: Faust gives up the first one's placing."""

    async def drain(self, messages):
        if any(message.value == b"hold" for message in messages):
            await self.until_rebalanced(2)
        return await super().drain(messages)

    async def until_rebalanced(self, times):
        print("holding", flush=True)
        recovery = self.engine.app.tables.recovery  # it places; what it is about to place is set at once
        generations = {recovery._generation_id}
        while len(generations) <= times:
            await asyncio.sleep(0.01)
            generations.add(recovery._generation_id)
        await asyncio.sleep(0.1)  # by now it has given up


class HeldPlacing(HeldDrain):
    """Hold the first placing, half made, through a rebalance: Faust gives it up."""

    first = True

    async def assigned(self, committed):
        first, self.first = self.first, False
        if first:
            await self.until_rebalanced(1)
        return await super().assigned(committed)


class Wedged(Echo):
    """Hold the loop for ever at a message that says how: asleep, or in native code that keeps the interpreter."""

    async def drain(self, messages):
        places = await super().drain(messages)
        for message in messages:
            if message.value == b"sleep":
                time.sleep(3600)  # noqa: ASYNC251
            if message.value == b"native":
                assert re.match(r"(a+)+$", "a" * 64 + "b")
        return places


class Deaf(Echo):
    """Let nothing more come in at a message that says how: a partition stands still, or the thread that reads."""

    async def open(self, engine):
        self.thread = lambda: engine._thread
        await super().open(engine)

    async def drain(self, messages):
        places = await super().drain(messages)
        for message in messages:
            thread = self.thread()
            if message.value == b"partition":
                consumer = thread._ensure_consumer()
                thread.thread_loop.call_soon_threadsafe(consumer.pause, *consumer.assignment())
            if message.value == b"thread":
                thread.thread_loop.call_soon_threadsafe(time.sleep, 3600)
        return places


if __name__ == "__main__":
    kind, bootstrap, app, slot, *topics = sys.argv[1:]
    if kind == "hasty":
        engine.ASSIGNED_WITHIN_SECS = 3.0
    if kind == "never-placed":
        fetch.PLACED_WITHIN_SECS = 2.0
    if kind == "slow":
        engine.PENDING_MESSAGES = 40
    if kind == "wedged":
        watchdog.WEDGED_AFTER_SECS = 2.0
    if kind == "deaf":
        engine.WATCH_EVERY_SECS, engine.STUCK_AFTER_SECS = 0.5, 3.0
    if kind == "paused-machine":
        Lease.require = lambda self: None
    has_lease = kind in {"leased", "paused-machine"}
    shape = engine.Shape(app, fetch_wait_ms=50, drain_secs=0.05, burst_secs=0.025, has_lease=has_lease)
    kinds = {
        "slow": Slow,
        "rewound": Rewound,
        "wedged": Wedged,
        "deaf": Deaf,
        "held-drain": HeldDrain,
        "held-placing": HeldPlacing,
        "never-placed": HeldPlacing,
    }
    stage = kinds.get(kind, Echo)(topics)
    engine.run(stage, shape, bootstrap=bootstrap, slot=int(slot))
