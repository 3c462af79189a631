"""The Faust shell of both apps: it brings messages to a stage, and commits what the stage says.

Faust gives consumer groups, partitions and rebalancing. The ingest agents only append; one drain task,
under a lock, gives all that is pending to the stage, awaits it, and commits the places it returns. All
state lies in the stage and in Kafka, so any exception ends the process with one line: the supervisor
starts it anew, and nothing that was not acknowledged counts as read.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from typing import NoReturn

from broker.health import Counted, Reporter
from broker.standing import Standing
from broker.watchdog import Watchdog
from schemas.errors import UnavailableError, WattlineError
from schemas.message import Message
from streams import quiet
from streams.faust_app import TP, StreamT, Worker, make_app
from streams.fetch import FetchThread, Place, Placing
from streams.lease import TOPIC as LEASE_TOPIC
from streams.lease import Lease
from streams.pace import Pace
from streams.reading import Heard, Jump, Partition, Progress, Reading
from streams.slot import hold
from streams.stage import EVALUATE, ROLL_UP, Shape, Stage
from streams.topic_watch import TopicWatch, marked, require_one_log, topics_of, unmarked, until_there

__all__ = ["EVALUATE", "ROLL_UP", "Engine", "Shape", "Stage", "run"]

logger = logging.getLogger("wattline.streams")

ASSIGNED_WITHIN_SECS = 10.0
COMMIT_EVERY_SECS = 1.0
WATCH_EVERY_SECS = 20.0
STUCK_AFTER_SECS = 60.0
SETTLED_AFTER_SECS = 2.0
PENDING_MESSAGES = 20_000
PENDING_BYTES = 32_000_000
STOP_WITHIN_SECS = 5.0
BEHIND_SECS, BEHIND_DRAIN_SECS = 20.0, 0.3
"""From this lag on, which is more than a restart reads again, a drain waits so long for more to come in."""


class Engine:
    """Run one stage in one slot of its consumer group until SIGTERM or the first error."""

    def __init__(self, stage: Stage, shape: Shape, *, bootstrap: str, slot: int) -> None:
        self.stage = stage
        self.shape = shape
        self.bootstrap = bootstrap
        self.slot = slot
        self.reading = Reading()
        self.app = make_app(self)
        self.counted = Counted()
        standing = Standing(lambda: self.reading.stands(self.counted.taken), self._log_ends)
        self.health = Reporter(bootstrap, shape.app, slot, self.counted, standing)
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._full = asyncio.Event()
        self._lock = asyncio.Lock()
        self._placings: set[asyncio.Future[Placing]] = set()
        self._placing = 0
        self._jumps = False
        self._commits: dict[Partition, Place] = {}
        self._committed: dict[Partition, Place] = {}
        self._committed_at = 0.0
        self.topic_ids: dict[str, str] = {}
        self._heard = Heard()
        self._lease: Lease | None = None

    def at_log_end(self) -> set[Partition]:
        """Return the assigned partitions of which everything was fetched and drained.

        Of one that the broker was not heard of for a while nothing is known, nor for a moment after it is back.
        """
        heard = {at for at in self.reading.assigned if self._thread.is_fresh(at)}
        settled = self._heard.for_secs(heard, SETTLED_AFTER_SECS)
        return set() if self.reading.pending else {at for at in settled if self._thread.at_log_end(at)}

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic had when this process became a member."""
        return self._topics[topic].partitions

    @property
    def member(self) -> str:
        """Return the name of this member of its group, and of its slot's lock."""
        return f"{self.shape.app}-{self.slot}"

    @property
    def _thread(self) -> FetchThread:
        return self.app.consumer._thread

    def run(self) -> NoReturn:
        """Run; ends the process: 0 after SIGTERM or SIGINT, else the error's exit code and one line."""
        loop = asyncio.get_event_loop()
        try:
            loop.run_until_complete(self._become_member())
            gc.collect()
            gc.freeze()  # what start-up made lives as long as the process: no collection need go through it
            worker = Worker(self.app, loop=loop, quiet=True, redirect_stdouts=False)
            worker.spinner = None
            loop.run_until_complete(worker.start())
            raise worker.crash_reason or WattlineError("Faust's worker ended by itself")
        except BaseException as error:
            self.fail(error)

    async def _become_member(self) -> None:
        """Get ready, then wait for the place: one that stands by has everything but its state."""
        Watchdog(self.member, _say).start()
        lease_topic = (LEASE_TOPIC,) if self.shape.has_lease else ()
        await until_there(self.bootstrap, (*self.stage.topics, *self.stage.writes, *lease_topic), _say)
        await self.stage.open(self)
        self._held = await hold(self.member, self.bootstrap, _say)
        if self.shape.has_lease:
            # The same member on every machine: it goes on with what the one before it had, without a rebalance.
            self._lease = Lease(self.bootstrap, self.member, self._held.lock_id, self.fail)
            await self._lease.acquire(_say)
        else:
            # Slots of the same number on two machines, which share no lock, must be two members (traps.md 10).
            self.app.conf.consumer_group_instance_id = f"{self.member}@{self._held.lock_id[:8]}"
        ours = {*self.stage.topics, *self.stage.writes}
        self._topics = await topics_of(self.bootstrap, ours)
        if missing := ours - self._topics.keys():
            raise UnavailableError(f"topic {', '.join(sorted(missing))} was deleted just now; looking again")
        require_one_log(self._topics)
        self.topic_ids = {topic: known.topic_id for topic, known in self._topics.items()}

    async def ingest(self, stream: StreamT) -> None:
        """Append what each fetch brought; this is all that an agent does (traps.md 2, 4)."""
        async for event in stream.noack().events():
            if event.message.value.placing != self._placing:
                continue  # fetched before the partitions were placed: from elsewhere, and it comes again
            for message in event.message.value.messages:
                if not self.reading.is_behind(message) or self._has_shrunk(message):
                    self.reading.append(message)
            self._wake.set()
            while self.reading.is_full(PENDING_MESSAGES, PENDING_BYTES):
                self._full.set()
                self._room.clear()
                await self._room.wait()

    def _has_shrunk(self, message: Message) -> bool:
        partition = (message.topic, message.partition)
        log_end = self._thread.log_end(partition)
        return log_end is not None and log_end < self.reading.next[partition]

    async def serve(self) -> None:
        """Drain until the process ends; the only task that calls the stage after an assignment."""
        try:
            self._require_agents()
            self.health.start()
            self._watching = [asyncio.ensure_future(self._watch_topics())]
            await self._require_assignment()
            self._watching += [asyncio.ensure_future(each) for each in (self._watch(), self._watch_thread())]
            while True:
                await self._drain()
                await self._pause()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fail(error)

    async def _pause(self) -> None:
        """Wait until what has come is worth a drain."""
        due_at = self.app.fetching.due_at = self.stage.due_at()
        pace = Pace(self.shape.hold_secs, self.shape.fetch_wait_ms / 1000, time.monotonic())
        while True:
            await self._burst()
            newest = self.reading.newest
            ready, expected_in = self.stage.ready(newest), due_at - time.time()
            if self._full.is_set() or pace.is_due(ready, len(newest), expected_in, time.monotonic()):
                break
        if self.reading.lag_secs(time.time()) > BEHIND_SECS:
            # Nobody waits for an answer of the moment: a long drain costs a fraction of many short ones.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), BEHIND_DRAIN_SECS)

    async def _burst(self) -> None:
        """Wait for a fetch, and let all that it brings come in."""
        began = time.monotonic()
        try:
            await asyncio.wait_for(self._wake.wait(), self.shape.drain_secs)
        except TimeoutError:
            return
        self._wake.clear()
        await asyncio.sleep(max(0.002, self.shape.burst_secs - (time.monotonic() - began)))

    def require_place(self) -> None:
        """End the process where another one may have its place by now; called before anything is written."""
        if self._lease is not None:
            self._lease.require()

    async def _drain(self) -> None:
        async with self._lock:
            self.require_place()
            self._wake.clear()
            self._full.clear()
            jump: Jump | None = None
            while True:
                messages, jump = self.reading.take()
                self._jumps = jump is not None
                self._commits.update(await self.stage.drain(messages))
                self.counted.messages(messages)
                if jump is None:
                    break
                await self._jump(jump)
            self._room.set()
            await self._commit(COMMIT_EVERY_SECS)

    def came(self, topic: str) -> list[Message]:
        """Return what came of a topic since the drain began that calls this; it belongs to the same drain."""
        messages = [] if self._jumps else self.reading.take_of(topic)
        self.counted.messages(messages)
        return messages

    async def _jump(self, jump: Jump) -> None:
        """Tell messages that are gone from a hole that transactions or compaction leave, and be loud."""
        partition, found = (jump.message.topic, jump.message.partition), jump.message.offset
        earliest = (await self._thread.log_starts([partition]))[partition]
        if found > jump.expected >= earliest:
            return
        what = (
            "the topic was made anew or lost its end"
            if found < jump.expected
            else f"{found - jump.expected} messages are gone before they were read"
        )
        logger.error(
            "%s: %s: expected offset %s, the log begins at %s and goes on at %s; this partition starts anew there. "
            "What windows lack by it is asked for, to be recomputed from the lake",
            jump.message.place, what, jump.expected, earliest, found,
        )  # fmt: skip
        self._commits.pop(partition, None)
        await self.stage.dropped(partition, found)

    async def _commit(self, every_secs: float) -> None:
        now = time.monotonic()
        if now - self._committed_at < every_secs:
            return
        self._committed_at = now
        moved = {at: place for at, place in self._commits.items() if self._committed.get(at) != place}
        noted = {_tp(at): marked(place, self.topic_ids[at[0]]) for at, place in moved.items()}
        if moved and await self.app.consumer._commit(noted):
            self._committed |= moved

    async def place(self, assigned: set[Partition]) -> Placing:
        """Return where to read each partition; placings are made whole and one after the other.

        Faust cancels this where a rebalance follows before it is done, and places again. Half of one would stay.
        """
        placing = asyncio.ensure_future(self._place(assigned))
        self._placings.add(placing)
        placing.add_done_callback(self._placings.discard)
        return await asyncio.shield(placing)

    async def _place(self, assigned: set[Partition]) -> Placing:
        """Keep the place of partitions that return, ask the stage for the new ones, forget the others.

        Every partition gets one: what was fetched before this is dropped, and has to come again.
        """
        try:
            async with self._lock:
                for gone in self.reading.assigned - assigned:
                    self._commits.pop(gone, None)
                    self._committed.pop(gone, None)
                    await self.stage.dropped(gone, None)
                new = assigned - self.reading.assigned
                committed, anew = await self._committed_places(new)
                chosen = await self.stage.assigned({at: committed.get(at) for at in new})
                starts = anew | {at: place.offset for at, place in committed.items()} | dict(chosen)
                starts |= await self._thread.log_starts(new - starts.keys())
                self.reading.assign(assigned, starts)
                self._placing += 1
                return Placing(dict(self.reading.next), self._placing)
        except BaseException as error:
            self.fail(error)

    async def _committed_places(self, new: set[Partition]) -> tuple[dict[Partition, Place], dict[Partition, int]]:
        """Return the committed places, and the starts of the logs that are not those in which they were committed."""
        committed, anew = {}, {}
        for at, noted in (await self._thread.committed(new)).items():
            place, topic_id = unmarked(noted)
            if not topic_id or topic_id == self.topic_ids.get(at[0]):
                committed[at] = place
                continue
            anew |= await self._thread.log_starts([at])
            logger.error(
                "%s/%s: the topic was made anew since offset %s was read; this partition starts anew at %s",
                *at, place.offset, anew[at],
            )  # fmt: skip
        return committed, anew

    def _require_agents(self) -> None:
        reading = {topic for agent in self.app.agents.values() for topic in agent.channel.topics}
        if missing := set(self.stage.topics) - reading:
            raise WattlineError(f"{self.member}: no agent reads {', '.join(sorted(missing))}")

    async def _require_assignment(self) -> None:
        deadline = time.monotonic() + ASSIGNED_WITHIN_SECS
        while not self.reading.assigned:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{self.member}: no partition was assigned within {ASSIGNED_WITHIN_SECS:.0f} s "
                    f"(topics {', '.join(self.stage.topics)} at {self.bootstrap}); more workers than partitions?"
                )
            await asyncio.sleep(0.05)

    async def _watch(self) -> None:
        """End the process where a partition has more and nothing comes: heartbeats would keep it (traps.md 18)."""
        watch = Progress(STUCK_AFTER_SECS)
        while True:
            await asyncio.sleep(WATCH_EVERY_SECS)
            try:
                ends = await self._log_ends(self.reading.assigned)
            except Exception as error:
                logger.info("the ends of the logs are not known: %s", error)
                watch = Progress(STUCK_AFTER_SECS)  # the broker is away: waiting is right
                continue
            stuck = watch.stuck(self.reading.next, ends)
            if stuck:
                self.fail(UnavailableError(f"nothing came for {STUCK_AFTER_SECS:.0f} s of {stuck}, whose log has more"))

    async def _watch_thread(self) -> None:
        """End the process where the thread that reads stands still: it is asked where the logs end, and is silent."""
        await self._thread.until_deaf(WATCH_EVERY_SECS, STUCK_AFTER_SECS)
        secs = f"{STUCK_AFTER_SECS:.0f} s"
        self.fail(UnavailableError(f"the thread that reads from Kafka has not answered for {secs}"))

    async def _log_ends(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        """Ask the broker where the logs end."""
        ends = await self._thread.highwaters(*(_tp(at) for at in partitions))
        return {(at.topic, at.partition): end for at, end in ends.items()}

    async def _watch_topics(self) -> None:
        """End the process where a topic is another one now: the next life begins it anew, and only it.

        Of one that is written, too: what was told last is told again, and the new log has it.
        """
        shape, counts = self.shape, self.shape.counts_partitions
        watch = TopicWatch(self.bootstrap, shape.app, self._topics, self.stage.topics, _say, counts=counts)
        self.fail(UnavailableError(await watch.until_replaced(self._thread.join_again)))

    def fail(self, error: BaseException) -> NoReturn:
        """End the process with one line. Nothing is flushed: what was not acknowledged is read again."""
        if not isinstance(error, WattlineError):
            logger.debug("the error in full", exc_info=error)
        where = "" if isinstance(error, WattlineError) else _raised_at(error)
        _say(f"{self.member} stops: {type(error).__name__}: {error}{where}")
        os._exit(getattr(error, "exit_code", 1) or 1)

    async def stop(self, reason: str = "") -> NoReturn:
        """End after the drain in flight and a last commit; Faust's own shutdown takes seconds (traps.md 3)."""
        if reason:
            _say(f"{self.member}: {reason}")
        if not self.reading.assigned:  # nothing was restored yet, so nothing may be written over what was
            os._exit(0)
        try:
            async with asyncio.timeout(STOP_WITHIN_SECS), self._lock:
                await self._commit(0)
                await self.stage.close()
                await self.health.stop()
        except TimeoutError:
            _say(f"{self.member}: stopped without a last commit; it will read a little again")
        os._exit(0)


def run(stage: Stage, shape: Shape, *, bootstrap: str, slot: int) -> NoReturn:
    """Run a stage until SIGTERM or the first error; ends the process."""
    quiet.configure()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until the loop's own is there
    Engine(stage, shape, bootstrap=bootstrap, slot=slot).run()


def _tp(partition: Partition) -> TP:
    return TP(*partition)


def _raised_at(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"


def _say(line: str) -> None:
    print(f"wattline: {line}", file=sys.stderr, flush=True)
