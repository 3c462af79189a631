"""The streams over a log in memory: the same pure functions as in the workers, without Kafka, in any drains."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from schemas import arrow
from schemas.admission import Clock, admit
from schemas.alert import Alert
from schemas.decode import decode
from schemas.histogram import HISTOGRAM
from schemas.message import Message
from schemas.partial import Partial
from schemas.topics import BY_NAME
from streams.evaluate import Evaluator
from streams.in_force import InForce
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.snapshot import decode as decode_snapshot
from streams.snapshot import restore, take
from streams.watch import Watch
from streams.watches import Watches
from tests.streams.live_equals_lake.campus_jobs import book_of
from tests.streams.live_equals_lake.campus_log import SECOND, START, Sent

TOPICS = (GPU_TOPIC, METER_TOPIC)
STREAMS = [(topic, number) for topic in TOPICS for number in range(BY_NAME[topic].partitions)]
LONG_AFTER = 4_000_000_000_000_000
"""µs; a clock at which every partition has been idle for long."""

Logs = Mapping[str, list[Message]]
Said = Partial | pl.DataFrame
"""One message of `windows.rack.v1`; a frame is of seconds of jobs."""


def logs_of(sent: Iterable[Sent]) -> Logs:
    """Put messages into the partitions of their keys, by topic; offsets count from 0."""
    logs: dict[str, list[Message]] = {topic: [] for topic in TOPICS}
    ends: dict[tuple[str, int], int] = defaultdict(int)
    for at, record, key, rows in sent:
        topic = f"{record.name}.v1"
        partition = zlib.crc32(key) % BY_NAME[topic].partitions
        offset = ends[topic, partition]
        ends[topic, partition] += 1
        headers = tuple(arrow.headers(record))
        message = Message(
            topic, partition, offset, START * SECOND + round(at * 1e6), key, arrow.encode(record, rows), headers
        )
        logs[topic].append(message)
    return logs


class Told(NamedTuple):
    """Hold every version of every window and histogram, and each transition once."""

    windows: pl.DataFrame
    histograms: pl.DataFrame
    alerts: dict[tuple[object, ...], Alert]


class Undisturbed:
    """A roll-up worker and an evaluator that nobody kills: what they tell of a whole log."""

    def __init__(self, watch: Watch, clock: Clock = "event") -> None:
        self._clock: Clock = clock
        self.registry = watch.registry
        self.roll_up = RollUp(InForce.always(self.registry), clock="event", jobs=book_of(self.registry))
        self.evaluator = Evaluator(watch, STREAMS, book=book_of(self.registry))
        self.alerts: list[Alert] = []
        self.windows: list[pl.DataFrame] = []
        self.histograms: list[pl.DataFrame] = [HISTOGRAM.empty()]
        self._at = 0

    def read(self, logs: Logs, drains: int = 1, seed: int = 0) -> Undisturbed:
        """Read a log to its end in so many drains, of any lengths, then let every partition be idle."""
        used = {(message.topic, message.partition) for log in logs.values() for message in log}
        for stream in STREAMS:
            self.roll_up.assign(stream, "", 0)
        self._take(self.idle(set(STREAMS) - used))
        draw = np.random.default_rng(seed)
        for topic, log in logs.items():
            cuts = sorted(draw.integers(0, len(log) + 1, drains - 1).tolist())
            for first, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
                if first < end:
                    self._drain(topic, log[first:end])
        self._take(self.idle(STREAMS))
        return self

    def told(self) -> dict[tuple[object, ...], Alert]:
        """Return each transition once."""
        return {alert.identity: alert for alert in self.alerts}

    def all_told(self) -> Told:
        """Return all that was told so far."""
        return Told(pl.concat(self.windows), pl.concat(self.histograms), self.told())

    def begin(self, streams: Iterable[tuple[str, int]], places: Mapping[tuple[str, int], tuple[int, str]]) -> None:
        """Begin a worker anew at these places."""
        self.roll_up = RollUp(InForce.always(self.registry), clock="event", jobs=book_of(self.registry))
        for stream in streams:
            self.roll_up.assign(stream, places[stream][1], 0)

    def rolled_up(self, topic: str, messages: list[Message]) -> list[Said]:
        """Return what the worker makes of messages."""
        if not messages:
            return []
        rows, ends = self._admitted(topic, messages)
        return self._with_jobs(self.roll_up.feed(topic, rows, ends, 0))

    def idle(self, streams: Iterable[tuple[str, int]]) -> list[Said]:
        """Return what the worker says of partitions in which nothing comes any more."""
        return self._with_jobs(self.roll_up.idle(streams, LONG_AFTER))

    def judge(self, messages: list[Message]) -> None:
        """Let the evaluator read messages of meters."""
        if messages:
            self.alerts += self.evaluator.read(*self._admitted(METER_TOPIC, messages))

    def put_together(self, partials: Iterable[tuple[int, Said]]) -> None:
        """Let the evaluator take partials by their offsets, and tell all that closes."""
        for offset, said in partials:
            if isinstance(said, pl.DataFrame):
                self.evaluator.take_jobs(offset, said)
            else:
                self.evaluator.take(offset, said.envelope, said.rows)
        while True:
            output = self.evaluator.close()
            self.alerts += output.alerts
            self.windows += [each.rows for each in output.windows]
            for each in output.minutes:
                (self.windows if each.table == "windows" else self.histograms).append(each.rows)
            if not self.evaluator.is_behind:
                return

    def _admitted(self, topic: str, messages: list[Message]) -> tuple[pl.DataFrame, dict[int, int]]:
        messages = sorted(messages, key=lambda message: (message.partition, message.offset))
        record = BY_NAME[topic].record
        assert record is not None
        rows = admit(record, decode(topic, messages, self.registry).frame, self.registry, clock=self._clock).rows
        return rows, {message.partition: message.offset + 1 for message in messages}

    def _drain(self, topic: str, messages: list[Message]) -> None:
        if topic == METER_TOPIC:
            self.judge(messages)
        self._take(self.rolled_up(topic, messages))

    def _with_jobs(self, partials: list[Partial]) -> list[Said]:
        rows = self.roll_up.job_rows()
        return [*partials] if rows is None else [rows, *partials]

    def _take(self, partials: Iterable[Said]) -> None:
        for partial in partials:
            self.put_together([(self._at, partial)])
            self._at += 1


def disturbed(watch: Watch, logs: Logs, seed: int) -> Told:
    """Return what is told of a log read in random drains by a worker and an evaluator that die again and again.

    The worker comes back from its last commit, the evaluator from its last snapshot; what they told since stays told.
    """
    draw, run = np.random.default_rng(seed), Undisturbed(watch)
    used = {(message.topic, message.partition) for log in logs.values() for message in log}
    ends = {at: sum((m.topic, m.partition) == at for m in logs[at[0]]) for at in used}
    by_partition = {at: [m for m in logs[at[0]] if m.partition == at[1]] for at in used}
    committed, kept = dict.fromkeys(STREAMS, (0, "")), take(run.evaluator, {}).encode()
    partials: list[Said] = []
    run.begin(STREAMS, committed)
    partials += run.idle(set(STREAMS) - used)
    read, heard, at = dict.fromkeys(used, 0), dict.fromkeys(range(4), 0), 0
    while any(read[each] < ends[each] for each in used) or at < len(partials):
        topic = TOPICS[int(draw.integers(2))]
        due = [
            m for each in used if each[0] == topic for m in by_partition[each][read[each] :][: int(draw.integers(40))]
        ]
        read |= {(m.topic, m.partition): m.offset + 1 for m in due}
        partials += run.rolled_up(topic, due)
        if draw.random() < 0.3:
            committed |= run.roll_up.places()
        if draw.random() < 0.06:
            run.begin(STREAMS, committed)
            read = {each: committed[each][0] for each in used}
        news = [m for n in heard for m in by_partition.get((METER_TOPIC, n), [])[heard[n] :][: int(draw.integers(120))]]
        heard |= {m.partition: m.offset + 1 for m in news}
        run.judge(news)
        end = at + int(draw.integers(900))
        run.put_together(enumerate(partials[at:end], at))
        at = min(end, len(partials))
        if draw.random() < 0.3 and run.evaluator.is_settled:
            kept = take(run.evaluator, {}).encode()
        if draw.random() < 0.06:
            restored = restore(decode_snapshot(kept), Watches.always(watch), STREAMS, book_of(watch.registry))
            run.evaluator, at = restored.evaluator, restored.positions.get(("windows.rack.v1", 0), 0)
            heard = {n: restored.positions.get((METER_TOPIC, n), 0) for n in heard}
    return run.all_told()
