"""What is published arrives in Kafka: grouped by key, in order, readable, counted when acknowledged."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import polars as pl
import pytest

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas.decode import decode
from schemas.errors import UnavailableError
from schemas.facility import Facility, Hall, Meter, Name, RackRange, RackType, Row, Site
from schemas.gpu import GPU
from schemas.job import Job, Measured, decode_jobs
from schemas.meter import METER
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from sources.publish import ROWS_PER_MESSAGE, UNREGISTERED, Publisher

T0 = datetime(2024, 5, 16, 15, 48, 33)


@pytest.fixture(scope="module")
def registry() -> Registry:
    kind = RackType(nodes=2, gpus_per_node=4, nameplate_watts=9e3, vendor="v", model="m", gpu_nameplate_watts=700.0)
    rows = tuple(Row(id=name, racks=(RackRange(type="box", first=1, last=3),)) for name in ("r1", "r2"))
    site = Site(id="ruh", name=Name(en="Riyadh"), time_zone="Asia/Riyadh", halls=(Hall(id="h1", rows=rows),))
    meters = (Meter(id="ruh/cooling", measures="ruh", level="cooling"),)
    return assign(Facility(schema_version=1, rack_types={"box": kind}, sites=(site,), meters=meters))


def gpu_readings(registry: Registry, seconds: int = 2) -> pl.DataFrame:
    """One reading a second of every GPU, in the order of time, so that racks are mixed."""
    times = pl.DataFrame({"time": [T0.replace(second=second) for second in range(seconds)]})
    rows = times.cast({"time": pl.Datetime("us")}).join(registry.slots.select("rack", "node", "gpu"), how="cross")
    return rows.with_columns(power_watts=pl.int_range(pl.len()).cast(pl.Float32))


def meter_readings(registry: Registry, count: int = 1) -> pl.DataFrame:
    meters = registry.meters.select("meter", "level").sort("meter", descending=True)
    unknown = pl.DataFrame({"meter": [-7], "level": [None]}, schema=meters.schema)
    rows = pl.concat([meters, unknown]).with_columns(
        time=pl.lit(T0, pl.Datetime("us")), phase=pl.lit(0, pl.Int8), power_watts=pl.lit(1.5)
    )
    return pl.concat([rows] * count)


def job(name: str) -> Job:
    span = Measured(meter="ruh/cooling", started=T0.replace(tzinfo=UTC), ended=T0.replace(minute=59, tzinfo=UTC))
    return Job(job=name, site="ruh", state="completed", measured=[span])


async def publish(kafka: EmbeddedKafka, registry: Registry | None, gpu, power, jobs) -> Publisher:
    async with Producer(kafka.bootstrap) as producer:
        publisher = Publisher(producer, registry)
        await publisher.gpu(gpu)
        await publisher.power(power)
        await publisher.jobs(jobs)
        await publisher.flush()
        return publisher


def test_everything_arrives_under_its_key_and_is_counted(fresh_kafka: EmbeddedKafka, registry: Registry) -> None:
    gpu, power = gpu_readings(registry), meter_readings(registry)
    publisher = asyncio.run(publish(fresh_kafka, registry, gpu, power, [job("a"), job("b")]))
    topics = ("telemetry.gpu.v1", "telemetry.power.v1", "telemetry.jobs.v1")
    logs = {topic: asyncio.run(read_to_end(fresh_kafka.bootstrap, topic)) for topic in topics}
    assert publisher.acknowledged == dict(zip(topics, (gpu.height, power.height, 2), strict=True))
    assert publisher.messages == {topic: len(log) for topic, log in logs.items()}

    gpu_log = logs["telemetry.gpu.v1"]
    arrived = decode("telemetry.gpu.v1", gpu_log, registry)
    assert arrived.refused.is_empty()
    assert arrived.frame.select(gpu.columns).sort("time", "node", "gpu").equals(gpu.sort("time", "node", "gpu"))
    assert {message.key for message in gpu_log} == {path.encode() for path in registry.ids(SubjectKind.RACK)}
    for message in gpu_log:
        rows = decode("telemetry.gpu.v1", [message], registry).frame
        assert set(rows["rack"]) == {registry.id_of(SubjectKind.RACK, message.key.decode())}
        assert rows["time"].is_sorted()

    power_log = logs["telemetry.power.v1"]
    assert {message.key.decode() for message in power_log} == {"ruh/h1/r1", "ruh/h1/r2", "ruh", UNREGISTERED}
    assert decode("telemetry.power.v1", power_log, registry).frame.height == power.height
    jobs, refused = decode_jobs(logs["telemetry.jobs.v1"], registry)[:2]
    assert ([each.record.job for each in jobs], len(refused)) == (["a", "b"], 0)


class Log:
    """Keep what was sent, as a topic's log does; `failure` is what the broker answers instead."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.sent: list[tuple[str, bytes, bytes]] = []
        self._failure = failure

    async def send(self, topic, value, *, key, headers):
        self.sent.append((topic, key, value))
        future = asyncio.get_running_loop().create_future()
        if self._failure:
            future.set_exception(self._failure)
        else:
            future.set_result((0, len(self.sent) - 1))
        return future


def test_a_group_that_is_named_is_the_key_of_all(registry: Registry) -> None:
    log = Log()
    assert asyncio.run(Publisher(log, registry).power(meter_readings(registry), "recorded/replay")) == 1
    assert [key for _, key, _ in log.sent] == [b"recorded/replay"]


def test_without_a_registry_the_keys_are_ids(registry: Registry) -> None:
    log = Log()
    asyncio.run(Publisher(log).gpu(gpu_readings(registry)))
    assert {key for _, key, _ in log.sent} == {str(rack).encode() for rack in registry.racks["rack"]}


def test_many_rows_of_one_key_are_several_messages_in_their_order(registry: Registry) -> None:
    log = Log()
    rows = meter_readings(registry, 900)
    sent = asyncio.run(Publisher(log, registry).power(rows, "g"))
    assert sent == -(-rows.height // ROWS_PER_MESSAGE) > 1
    assert max(len(value) for _, _, value in log.sent) < 1_000_000


def test_a_frame_without_rows_sends_nothing(registry: Registry) -> None:
    log = Log()
    publisher = Publisher(log, registry)
    assert asyncio.run(publisher.gpu(GPU.empty())) == 0
    assert asyncio.run(publisher.power(METER.empty())) == 0
    assert log.sent == []


def test_a_send_that_failed_is_raised_and_its_rows_are_not_counted(registry: Registry) -> None:
    async def run() -> Publisher:
        publisher = Publisher(Log(UnavailableError("the disk is full")), registry)
        await publisher.power(meter_readings(registry), "g")
        with pytest.raises(UnavailableError, match="disk is full"):
            await publisher.flush()
        return publisher

    assert asyncio.run(run()).acknowledged == {}
