"""The streams over a log in memory: the same pure functions as in the workers, without Kafka, in any drains."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from schemas import arrow
from schemas.admission import admit
from schemas.alert import Alert
from schemas.decode import decode
from schemas.message import Message
from schemas.partial import Partial
from schemas.topics import BY_NAME
from streams.evaluate import Evaluator
from streams.in_force import InForce
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.watch import Watch
from tests.streams.live_equals_lake.campus_log import Sent

TOPICS = (GPU_TOPIC, METER_TOPIC)
STREAMS = [(topic, number) for topic in TOPICS for number in range(BY_NAME[topic].partitions)]
LONG_AFTER = 4_000_000_000_000_000
"""µs; a clock at which every partition has been idle for long."""

Logs = Mapping[str, list[Message]]


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
        message = Message(topic, partition, offset, round(at * 1e6), key, arrow.encode(record, rows), headers)
        logs[topic].append(message)
    return logs


class Undisturbed:
    """A roll-up worker and an evaluator that nobody kills: what they tell of a whole log."""

    def __init__(self, watch: Watch) -> None:
        self.registry = watch.registry
        self.roll_up = RollUp(InForce.always(self.registry), clock="event")
        self.evaluator = Evaluator(watch, STREAMS)
        self.alerts: list[Alert] = []
        self.windows: list[pl.DataFrame] = []
        self._at = 0

    def read(self, logs: Logs, drains: int = 1, seed: int = 0) -> Undisturbed:
        """Read a log to its end in so many drains, of any lengths, then let every partition be idle."""
        used = {(message.topic, message.partition) for log in logs.values() for message in log}
        for stream in STREAMS:
            self.roll_up.assign(stream, "", 0)
        self._take(self.roll_up.idle(set(STREAMS) - used, LONG_AFTER))
        draw = np.random.default_rng(seed)
        for topic, log in logs.items():
            cuts = sorted(draw.integers(0, len(log) + 1, drains - 1).tolist())
            for first, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
                if first < end:
                    self._drain(topic, log[first:end])
        self._take(self.roll_up.idle(STREAMS, LONG_AFTER))
        return self

    def told(self) -> dict[tuple[object, ...], Alert]:
        """Return each transition once."""
        return {alert.identity: alert for alert in self.alerts}

    def _drain(self, topic: str, messages: list[Message]) -> None:
        messages = sorted(messages, key=lambda message: (message.partition, message.offset))
        record = BY_NAME[topic].record
        assert record is not None
        rows = admit(record, decode(topic, messages, self.registry).frame, self.registry, clock="event").rows
        ends = {message.partition: message.offset + 1 for message in messages}
        if topic == METER_TOPIC:
            self.alerts += self.evaluator.read(rows, ends)
        self._take(self.roll_up.feed(topic, rows, ends, 0))

    def _take(self, partials: Iterable[Partial]) -> None:
        for partial in partials:
            self.evaluator.take(self._at, partial.envelope, partial.rows)
            self._at += 1
        while True:
            output = self.evaluator.close()
            self.alerts += output.alerts
            self.windows += [each.rows for each in output.windows]
            if not self.evaluator.is_behind:
                return
