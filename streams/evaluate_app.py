"""The evaluator: readings, partials and jobs from Kafka, alerts and windows back. Thin: see evaluate.py.

One evaluator a Kafka cluster: it needs every partition of its inputs. A second one stands by for the slot.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NoReturn

import msgspec
import polars as pl

from broker.allocator import give_back_what_is_free
from broker.consumer import From, read_to_end
from broker.facility import TOPIC as FACILITY_TOPIC
from broker.facility_log import facility_log
from broker.job_log import TOPIC as JOBS_TOPIC
from broker.job_log import job_log
from broker.producer import Producer
from schemas import job, recomputation
from schemas.admission import Clock
from schemas.alert import Alert, encode_alert
from schemas.blocks import in_blocks
from schemas.errors import RejectedRecordError, UnavailableError
from schemas.message import Message
from schemas.partial import Partial
from schemas.rejection import WHOLE, Refusal, refused_frame, with_raw
from schemas.rules import default_rules, load_rules
from schemas.topics import BY_NAME
from streams import refusals, snapshot
from streams.engine import EVALUATE, Engine, run
from streams.evaluate import PARTIALS_TOPIC, POWER_TOPIC, Evaluator, Output
from streams.job_book import JobBook
from streams.meter_intake import admitted
from streams.partials_log import decoded
from streams.reading import Partition
from streams.snapshot import Snapshot
from streams.stage import Place
from streams.telling import ended
from streams.watches import Watches
from streams.windows_message import HISTOGRAMS_TOPIC, message_of, message_of_minute

GPU_TOPIC = "telemetry.gpu.v1"
PROGRESS_TOPIC = "telemetry.progress.v1"
ALERTS_TOPIC = "alerts.v1"
WINDOWS_TOPIC = "windows.site.v1"
SNAPSHOT_EVERY_SECS = 2.0
RECENT_SECS = 60
SAY_AGAIN_SECS = 60.0
ASK_EVERY_SECS = 10.0
BYTES_AT_ONCE = 600_000
"""Of partials between which readings are judged: taking so much holds the loop for some 15 ms."""
ALERT_HEADERS = (("content-type", b"application/json"), ("schema", b"alert/1"))

_ANEW = "%s/%s: the topic was made anew since offset %s was read; this partition starts anew at 0"

log = logging.getLogger("wattline.streams")


class EvaluateStage:
    """Evaluate what came, send it, and every two seconds write down where it stands.

    In a second group it tells alerts only, the same ones: windows and refusals are the first group's.
    """

    topics = (POWER_TOPIC, PARTIALS_TOPIC, PROGRESS_TOPIC)
    writes = (
        ALERTS_TOPIC, WINDOWS_TOPIC, HISTOGRAMS_TOPIC, snapshot.TOPIC, refusals.TOPIC, recomputation.TOPIC, JOBS_TOPIC,
        FACILITY_TOPIC, GPU_TOPIC,
    )  # fmt: skip

    def __init__(self, bootstrap: str, *, member: str, clock: Clock, rules: Path | None, is_first: bool) -> None:
        self._bootstrap = bootstrap
        self._key = member.encode()
        self._is_first = is_first
        self._clock: Clock = clock
        self._rules = rules
        self._positions: dict[str, dict[int, int]] = {PROGRESS_TOPIC: {}}
        self._starts: dict[Partition, int] | None = None
        """Where the snapshot says to read on; None before it was read."""
        self._no_jobs: list[pl.DataFrame] = []
        """Refusals of what is no record of a job, not told yet."""
        self._refused_before = 0
        """The offset up to which an earlier life told them: the log of jobs is read from its start each time."""
        self._written_at = self._said_at = time.monotonic()
        self._said_too_late = 0
        self._asked_at = -ASK_EVERY_SECS

    async def open(self, engine: Engine) -> None:
        """Read the facility, resolve the rules on it, connect the producer."""
        self._engine = engine
        self._open = AsyncExitStack()
        self._facility = await self._open.enter_async_context(facility_log(self._bootstrap, self._clock))
        rules = default_rules() if self._rules is None else load_rules(self._rules)
        self._watches = Watches(rules, self._facility.timeline)
        self._job_log = await self._open.enter_async_context(job_log(self._bootstrap))
        self._book = JobBook()
        self._book.hear(self._decoded(await self._job_log.catch_up()), self._job_log.next_offset)
        self._evaluator = Evaluator(self._watches, (), book=self._book)
        engine.counted.open_windows = lambda: self._evaluator.sums.closings.open_seconds
        engine.counted.count_too_late(lambda: self._evaluator.sums.closings.too_late)
        self._producer = await self._open.enter_async_context(Producer(self._bootstrap))

    async def assigned(self, committed: Mapping[Partition, Place | None]) -> Mapping[Partition, int]:
        """Go on from the snapshot.

        Without a snapshot Kafka's places mean nothing: what is firing would be forgotten, so all is read again. So is a
        partition that the snapshot does not name: it had brought nothing yet, and Kafka's place is of an earlier life.
        Partitions may be dealt one after the other, as where a topic was just made anew. Those that came first are read
        on meanwhile, so only the first time is gone back to the snapshot: of the others nothing was read since.
        """
        if self._starts is None:
            self._starts = await self._restore()
        if self._starts is None:
            if any(committed.values()):
                log.error(
                    "no snapshot of %s is on %s: all is read again from its start", self._key.decode(), snapshot.TOPIC
                )
            self._starts = {}
            self._evaluator = Evaluator(self._watches, self._streams(), book=self._book)
        unread = {at: 0 for at, place in committed.items() if place is not None}
        return unread | {at: offset for at, offset in self._starts.items() if at in committed}

    async def dropped(self, partition: Partition, offset: int | None) -> None:
        """End the process where it has a partition no more; go on where a log lost some of itself."""
        if offset is None:
            raise UnavailableError(
                f"{partition[0]}/{partition[1]} is this evaluator's no more: another one took over, or the topic is "
                f"gone; starting again"
            )
        self._evaluator.lose(*partition, offset)

    def ready(self, newest: Mapping[Partition, int]) -> int:
        """Return how many partitions brought anything: all of it may be an alert."""
        return len(newest)

    def due_at(self) -> float:
        """Return 0: an alert may come at any time."""
        return 0.0

    async def drain(self, messages: list[Message]) -> Mapping[Partition, Place]:
        """Evaluate and send; return places only when a snapshot of them is durable."""
        await self._hear_of_the_facility(messages)
        self._hear_records(await self._job_log.hear())
        by_topic: dict[str, list[Message]] = {topic: [] for topic in self.topics}
        for message in messages:
            by_topic[message.topic].append(message)
        await self._hear_progress(by_topic[PROGRESS_TOPIC])
        await self._judge(by_topic[POWER_TOPIC])
        for part in in_blocks(by_topic[PARTIALS_TOPIC], BYTES_AT_ONCE):
            await self._take(part)
            await self._let_readings_in()
            while self._evaluator.is_full:
                await self._tell(self._evaluator.close())
                await self._let_readings_in()
        if by_topic[PARTIALS_TOPIC] or self._evaluator.is_behind:
            await self._tell(self._evaluator.close())
        self._notice_the_end()
        # A snapshot is of an evaluator that has told all it has to tell.
        if not self._evaluator.is_settled or time.monotonic() - self._written_at < SNAPSHOT_EVERY_SECS:
            return {}
        self._tell_too_late()
        return await self._note_place(ASK_EVERY_SECS)

    async def close(self) -> None:
        """Write a last snapshot and disconnect."""
        if self._evaluator.is_settled:
            await self._note_place(ask_every_secs=0)
        await self._open.aclose()

    async def _hear_of_the_facility(self, messages: list[Message]) -> None:
        """Know every version by which these messages are to be counted, before they are."""
        newest = max((message.appended for message in messages), default=0)
        if await self._facility.hear(newest):
            self._watches = self._watches.following(self._facility.timeline)
            await self._tell(Output(self._evaluator.follow(self._watches), []))

    async def _judge(self, readings: list[Message]) -> None:
        """Judge meter readings and let their alerts out: the sums hold the loop for tens of milliseconds."""
        if alerts := self._read(readings):
            await self._tell(Output(alerts, []))
            await self._producer.flush()

    async def _let_readings_in(self) -> None:
        """Let the loop go on, and judge what it brings: no rule on one rack waits until all partials are taken."""
        await asyncio.sleep(0)
        if readings := self._engine.came(POWER_TOPIC):
            await self._hear_of_the_facility(readings)
            await self._judge(readings)

    def _read(self, messages: list[Message]) -> list[Alert]:
        """Evaluate meter readings; roll up refuses what is not admissible, so nothing is said of it here."""
        if not messages:
            return []
        messages = sorted(messages, key=lambda message: (message.partition, message.offset))
        rows = admitted(messages, self._facility.timeline, self._clock)
        self._engine.counted.rows(POWER_TOPIC, len(rows.time))
        return self._evaluator.read(rows, {message.partition: message.offset + 1 for message in messages})

    async def _take(self, messages: Sequence[Message]) -> None:
        refused = []
        for message, said in decoded(messages, BY_NAME[PARTIALS_TOPIC].max_decoded_bytes):
            if isinstance(said, RejectedRecordError):
                refused.append(Refusal(message, WHOLE, said.reason, str(said), said.field, said.value))
            elif isinstance(said, Partial):
                self._evaluator.take(message.offset, said.envelope, said.rows)
                self._engine.counted.rows(PARTIALS_TOPIC, len(said.rows))
            else:
                await self._take_jobs(message.offset, said)
        if refused:
            await self._refuse(with_raw([refused_frame(refused)], messages))

    def _notice_the_end(self) -> None:
        jobs = self._evaluator.sums.jobs
        if jobs.is_catching_up and not self._evaluator.is_behind and (PARTIALS_TOPIC, 0) in self._engine.at_log_end():
            jobs.caught_up()

    async def _take_jobs(self, offset: int, rows: pl.DataFrame) -> None:
        """Take seconds of jobs, once the records by which they were told are heard."""
        self._hear_records(await self._job_log.hear_through(rows["job_record"].max() or 0))  # type: ignore[arg-type]
        self._evaluator.take_jobs(offset, rows)
        self._engine.counted.rows(PARTIALS_TOPIC, len(rows))

    def _hear_records(self, messages: list[Message]) -> None:
        """Know of jobs what windows need, and whom to name as causes."""
        if messages:
            self._evaluator.sums.hear_jobs(self._decoded(messages), self._job_log.next_offset)

    def _decoded(self, messages: list[Message]) -> list[job.Placed[job.Job]]:
        """Return records of jobs; what is none is refused before the next snapshot."""
        found = job.decode_jobs(messages, self._facility.timeline.places)
        self._no_jobs.append(found.refused)
        self._engine.counted.messages(messages)
        self._engine.counted.rows(JOBS_TOPIC, len(found.records))
        return found.records

    async def _refuse_no_jobs(self) -> None:
        refused, self._no_jobs = self._no_jobs, []
        if refused:
            await self._refuse(pl.concat(refused).filter(pl.col("offset") >= self._refused_before))

    async def _hear_progress(self, messages: list[Message]) -> None:
        if messages:
            told = job.decode_progress(messages)
            self._engine.counted.rows(PROGRESS_TOPIC, len(told.records))
            await self._refuse(told.refused)
        for message in messages:
            self._positions[PROGRESS_TOPIC][message.partition] = message.offset + 1

    async def _refuse(self, refused: pl.DataFrame) -> None:
        self._engine.counted.refused(refused.select("topic", "reason").iter_rows())
        for value, key, headers in refusals.refusal_messages(refused) if self._is_first else ():
            await self._producer.send(refusals.TOPIC, value, key, headers)

    async def _tell(self, output: Output) -> None:
        for alert in output.alerts:
            await self._producer.send(ALERTS_TOPIC, encode_alert(alert), alert.key, ALERT_HEADERS)
        for windows in output.windows if self._is_first else ():
            await self._producer.send(WINDOWS_TOPIC, *message_of(windows))
        for minute in output.minutes if self._is_first else ():
            topic = WINDOWS_TOPIC if minute.table == "windows" else HISTOGRAMS_TOPIC
            await self._producer.send(topic, *message_of_minute(minute))

    async def _note_place(self, ask_every_secs: float) -> Mapping[Partition, Place]:
        """Write a snapshot, but none past what is still to be asked for: a restart must read that again."""
        await self._ask(ask_every_secs)
        return {} if self._evaluator.sums.is_asking else await self._write_snapshot()

    async def _write_snapshot(self) -> Mapping[Partition, Place]:
        """Wait until all that was told is acknowledged, then write where this evaluator stands."""
        await self._refuse_no_jobs()
        taken = msgspec.structs.replace(snapshot.take(self._evaluator, self._positions), topics=self._engine.topic_ids)
        await self._producer.flush()
        self._engine.require_place()
        await (await self._producer.send(snapshot.TOPIC, taken.encode(), self._key))
        self._written_at = time.monotonic()
        return {(topic, at): Place(offset) for topic, found in taken.positions.items() for at, offset in found.items()}

    async def _ask(self, every_secs: float) -> None:
        """Ask for what windows lack to be recomputed."""
        if not self._evaluator.sums.is_asking or time.monotonic() - self._asked_at < every_secs:
            return
        self._asked_at = time.monotonic()
        asked = self._evaluator.sums.asks()
        for each in asked if self._is_first else ():
            await self._producer.send(recomputation.TOPIC, recomputation.encode(each), b"", recomputation.HEADERS)

    def _tell_too_late(self) -> None:
        too_late = self._evaluator.sums.closings.too_late
        if too_late > self._said_too_late and time.monotonic() - self._said_at >= SAY_AGAIN_SECS:
            self._said_at, self._said_too_late = time.monotonic(), too_late
            log.warning(
                "%s rows of partials came for seconds closed long ago: windows are recomputed from the lake", too_late
            )

    async def _restore(self) -> dict[Partition, int] | None:
        """Go back to the newest snapshot that can be read and return its positions, None where there is none."""
        async for message in self._written():
            if message.value is None:
                return None
            try:
                found = snapshot.decode(message.value)
            except RejectedRecordError as error:
                log.error(
                    "%s %s: an older one is looked for, which only means more to read again", message.place, error
                )
                refusal = Refusal(message, WHOLE, error.reason, f"{message.place} {error}", error.field, error.value)
                await self._refuse(with_raw([refused_frame([refusal])], [message]))
                continue
            return await self._go_on(found)
        return None

    async def _written(self) -> AsyncIterator[Message]:
        """Yield what was written for this evaluator, the newest first: of the last minute, then all the rest.

        What is not compacted yet is up to 64 MB, which would keep one that takes over from its work.
        """
        seen: set[int] = set()
        froms: tuple[From, ...] = (time.time_ns() // 1000 - RECENT_SECS * 1_000_000, "earliest")
        for from_ in froms:
            for message in reversed(await read_to_end(self._bootstrap, snapshot.TOPIC, from_)):
                if message.key == self._key and message.offset not in seen:
                    seen.add(message.offset)
                    yield message

    async def _go_on(self, found: Snapshot) -> dict[Partition, int]:
        # One who stood by has not heard of versions and jobs for as long; the snapshot may be of one that knew them.
        await self._facility.catch_up()
        self._watches = self._watches.following(self._facility.timeline)
        self._book.hear(self._decoded(await self._job_log.catch_up()), self._job_log.next_offset)
        found = self._of_these_jobs(found)
        self._refused_before = found.jobs_heard
        restored = snapshot.restore(found, self._watches, self._streams(), self._book)
        self._evaluator = restored.evaluator
        positions = restored.positions | self._lost(found, restored.positions)
        for (topic, number), offset in positions.items():
            if topic in self._positions:
                self._positions[topic][number] = offset
        await self._tell(Output([ended(machine, state) for machine, state in restored.orphans], []))
        return positions

    def _of_these_jobs(self, found: Snapshot) -> Snapshot:
        """Return a snapshot that knows no records of jobs where their log is not the one that it heard."""
        now = self._engine.topic_ids[JOBS_TOPIC]
        if found.topics.get(JOBS_TOPIC, now) == now:
            return found
        log.error(_ANEW, JOBS_TOPIC, 0, found.jobs_heard)
        return msgspec.structs.replace(found, jobs_heard=0)

    def _streams(self) -> list[Partition]:
        """Return all partitions of readings that there are: their number is not taken on trust."""
        partitions = self._engine.partitions
        return [(topic, number) for topic in (GPU_TOPIC, POWER_TOPIC) for number in range(partitions(topic))]

    def _lost(self, found: Snapshot, positions: Mapping[Partition, int]) -> dict[Partition, int]:
        """Begin the logs anew that are not those of the snapshot; return the positions that this changes."""
        now = self._engine.topic_ids
        lost = [at for at in positions if at[0] in now and found.topics.get(at[0], now[at[0]]) != now[at[0]]]
        for topic, number in lost:
            log.error(_ANEW, topic, number, positions[topic, number])
            self._evaluator.lose(topic, number, 0)
        return dict.fromkeys(lost, 0)


def run_evaluate(bootstrap: str, *, slot: int, clock: Clock, rules: Path | None = None, group: str = "") -> NoReturn:
    """Run the evaluator of one slot of a group ("" = the first); ends the process (streams.engine.run)."""
    give_back_what_is_free()
    shape = EVALUATE.of(group)
    stage = EvaluateStage(bootstrap, member=f"{shape.app}-{slot}", clock=clock, rules=rules, is_first=not group)
    run(stage, shape, bootstrap=bootstrap, slot=slot)
