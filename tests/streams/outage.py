"""A small site under the real workers, on a Kafka that things happen to: what was sent, told and said.

Event time, so that a second is told when its readings came and not when a clock says so. Every second each GPU and each
meter says one reading: a second is whole where the greatest version of each rack's window counts all of them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl
from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import TopicPartition

from broker.admin import admin, create_topics
from broker.consumer import assigned, read_to_end
from broker.facility import publish
from broker.producer import Producer
from broker.supervisor import Supervisor
from schemas import arrow, partial, recomputation
from schemas.alert import Alert, decode_alert
from schemas.column import Record
from schemas.gpu import GPU
from schemas.meter import METER
from schemas.rejected import REJECTED
from schemas.subject import SubjectKind
from schemas.topics import BY_NAME
from schemas.window import WINDOW
from tests.streams.changing import SECOND, Plan
from tests.streams.processes import REPOSITORY
from wattline.parts import Settings, workers

START = 1_760_000_040
GPU_TOPIC, POWER_TOPIC, PARTIALS, WINDOWS, ALERTS = (
    "telemetry.gpu.v1", "telemetry.power.v1", "windows.rack.v1", "windows.site.v1", "alerts.v1",
)  # fmt: skip
FACILITY, JOBS, REFUSALS = "facility.v1", "telemetry.jobs.v1", "telemetry.rejected.v1"
RACKS = {"k01": ("r01", 1, 2, 20_000.0), "k02": ("r02", 2, 2, 20_000.0)}
SIDE_WATTS, HIGH_WATTS = 4_000.0, 9_000.0
"""Of each of a rack's two sides, and over what a rule allows."""
RULES = """schema_version = 1
[[rules]]
id = "rack-high"
scope = "rack"
above_watts = 15_000
severity = "critical"
summary = "{rack} draws {value}"
"""


class Site:
    """Runs roll up and the evaluator under a supervisor within the `with` block, from the first `run` on."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.logs = folder / "logs"
        self._running = ExitStack()
        self._rules = folder / "rules.toml"
        self._rules.write_text(RULES)
        self.publish(RACKS)
        self.lines: list[str] = []

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def publish(self, racks: dict[str, tuple[str, int, int, float]]) -> None:
        """Publish a facility of these racks, which send from now on."""
        self.registry = asyncio.run(publish(self.bootstrap, Plan(racks).facility(), datetime(2025, 1, 1)))

    def run(self, *parts: str) -> None:
        """Start the workers, or those of some parts alone."""
        settings = Settings(self.bootstrap, Path("/nowhere"), clock="event", rules=self._rules)
        os.environ["PYTHONPATH"] = str(REPOSITORY)
        crew = workers(parts or ("roll-up", "evaluate"), settings)
        self._running.enter_context(Supervisor(crew, self.logs, report=self.lines.append))

    def stop(self) -> None:
        """End the workers as SIGTERM does."""
        self._running.close()

    @property
    def said(self) -> str:
        """Return all that the workers and their supervisor have said."""
        logs = "".join(path.read_text() for path in sorted(self.logs.glob("*.log")))
        return "\n".join([logs, *self.lines])

    def send(
        self,
        seconds: Iterable[int],
        watts: float = SIDE_WATTS,
        within_secs: float = 60.0,
        keys: Mapping[str, bytes] = {},
    ) -> None:
        """Send the readings of these seconds, counted from START, and wait until Kafka has them.

        `keys` are, by topic, those that all messages get in place of their rack.
        """
        asyncio.run(self._send(seconds, watts, within_secs, keys))

    async def _send(self, seconds: Iterable[int], watts: float, within_secs: float, keys: Mapping[str, bytes]) -> None:
        async with Producer(self.bootstrap, alarm=self.lines.append) as producer:
            for second in seconds:
                for rack in self.registry.racks["rack"]:
                    for topic, record, rows in self._readings(rack, second, watts):
                        key = keys.get(topic, b"%d" % rack)
                        await producer.send(topic, arrow.encode(record, rows), key, arrow.headers(record))
            await producer.flush(within_secs=within_secs)

    def _readings(self, rack: int, second: int, watts: float) -> list[tuple[str, Record, pl.DataFrame]]:
        at = {"time": pl.lit((START + second) * SECOND + 400_000).cast(pl.Datetime("us"))}
        gpus = self.registry.slots.filter(rack=rack).select("rack", "node", "gpu")
        gpus = gpus.with_columns(**at, power_watts=1_000.0, utilization_fraction=0.5)
        meters = self.registry.meters.filter(subject_kind=SubjectKind.RACK.value, subject=rack).select("meter", "level")
        meters = meters.with_columns(**at, phase=0, power_watts=watts, interval_seconds=1.0, quality=0)
        return [(GPU_TOPIC, GPU, _whole(GPU, gpus)), (POWER_TOPIC, METER, _whole(METER, meters))]

    def send_jobs(self, values: Iterable[bytes]) -> None:
        """Send values to the log of jobs, each under a key of its own."""
        asyncio.run(self._send_jobs(values))

    async def _send_jobs(self, values: Iterable[bytes]) -> None:
        async with Producer(self.bootstrap, alarm=self.lines.append) as producer:
            for nth, value in enumerate(values):
                await producer.send(JOBS, value, b"job-%d" % nth, (("content-type", b"application/json"),))

    def refused(self, topic: str) -> pl.DataFrame:
        """Return the refusals of a topic's messages, each once, as (partition, offset, appended)."""
        found = arrow.decode(REJECTED, asyncio.run(read_to_end(self.bootstrap, REFUSALS))).frame
        return found.filter(topic=topic).select("partition", "offset", "appended").unique()

    def lacking(self, seconds: Iterable[int]) -> list[int]:
        """Return those of the seconds whose windows do not count every reading."""
        told = arrow.decode(WINDOW, asyncio.run(read_to_end(self.bootstrap, WINDOWS))).frame
        key = ["subject", "window_start"]
        racks = told.filter(subject_kind=SubjectKind.RACK.value, every_seconds=1).sort("version_readings")
        stands = racks.unique(key, keep="last").filter(
            (pl.col("reporting") == pl.col("expected")) & pl.col("utilization_fraction").is_not_null()
        )
        count = dict(stands.group_by(pl.col("window_start").cast(pl.Int64) // SECOND - START).len().iter_rows())
        return [second for second in seconds if count.get(second) != len(self.registry.racks)]

    def closed(self) -> int:
        """Return the end of the seconds after START that every partition of which something came has closed."""
        closed: dict[tuple[str, int], int] = {}
        for message in asyncio.run(read_to_end(self.bootstrap, PARTIALS)):
            envelope = partial.decode_envelope(message)
            if envelope.kind == "closing":
                closed[envelope.topic, envelope.partition] = envelope.end_second // SECOND - START
        return min(closed.values(), default=0)

    def alerts(self) -> list[tuple[str, int]]:
        """Return the transitions of racks that were told, each once, by the second after START."""
        told: dict[object, Alert] = {}
        for message in asyncio.run(read_to_end(self.bootstrap, ALERTS)):
            alert = decode_alert(message)
            told[alert.identity] = alert
        return sorted(
            {(each.transition, int(each.at.timestamp()) - START) for each in told.values()}, key=lambda each: each[1]
        )

    def asked(self, reason: str = "") -> set[int]:
        """Return the seconds after START that somebody asked to be recomputed."""
        found = map(recomputation.decode, asyncio.run(read_to_end(self.bootstrap, recomputation.TOPIC)))
        return {
            second // SECOND - START
            for each in found
            if isinstance(each, recomputation.Asked) and reason in ("", each.reason)
            for second in range(each.first_second, each.end_second, SECOND)
        }

    def wait_for(self, is_true: Callable[[], bool], within_secs: float = 60.0) -> None:
        """Return once it is true; fail with what was said."""
        deadline = time.monotonic() + within_secs
        while not is_true():
            assert time.monotonic() < deadline, f"did not come true in {within_secs} s:\n{self.said}"
            time.sleep(0.2)

    def wait_until_whole(self, seconds: Iterable[int], within_secs: float = 150.0) -> None:
        """Return once the windows of all seconds count every reading; fail with those that lack some."""
        seconds, deadline = list(seconds), time.monotonic() + within_secs
        while lacking := self.lacking(seconds):
            assert time.monotonic() < deadline, f"the seconds {lacking} are not whole:\n{self.said}"
            time.sleep(0.2)

    def wait_to_hear(self, words: str, within_secs: float = 40.0) -> None:
        """Return once somebody said so."""
        self.wait_for(lambda: words in self.said, within_secs)


def _whole(record: Record, said: pl.DataFrame) -> pl.DataFrame:
    missing = (pl.lit(None).alias(name) for name in record.polars if name not in said.columns)
    return said.with_columns(*missing).select(*record.polars).cast(record.polars)


def delete(bootstrap: str, topic: str) -> None:
    """Delete a topic and return when it is gone."""
    asyncio.run(_delete(bootstrap, topic))


async def _delete(bootstrap: str, topic: str) -> None:
    async with admin(bootstrap) as client:
        await client.delete_topics([topic])
        while topic in await client.list_topics():
            await asyncio.sleep(0.02)


def create(bootstrap: str, topic: str, partitions: int | None = None) -> None:
    """Make a topic of the product's, with another number of partitions where one is given."""
    table = BY_NAME[topic]
    asyncio.run(create_topics(bootstrap, topics=[replace(table, partitions=partitions or table.partitions)]))


def add_partitions(bootstrap: str, topic: str, partitions: int) -> None:
    """Give a topic so many partitions in all."""
    asyncio.run(_add_partitions(bootstrap, topic, partitions))


async def _add_partitions(bootstrap: str, topic: str, partitions: int) -> None:
    async with admin(bootstrap) as client:
        await client.create_partitions({topic: NewPartitions(partitions)})


def key_of(partition: int, partitions: int) -> bytes:
    """Return a key that Kafka's clients hash to a partition."""
    every = list(range(partitions))
    keys = (b"%d" % number for number in range(10_000))
    return next(key for key in keys if DefaultPartitioner()(key, every, every) == partition)


def delete_records(bootstrap: str, topic: str) -> None:
    """Move the start of every partition's log to its present end."""
    asyncio.run(_delete_records(bootstrap, topic))


async def _delete_records(bootstrap: str, topic: str) -> None:
    async with assigned(bootstrap, topic, "latest") as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(consumer.assignment()))
    async with admin(bootstrap) as client:
        await client.delete_records({at: RecordsToDelete(before_offset=end) for at, end in ends.items() if end})
