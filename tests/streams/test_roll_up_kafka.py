"""The roll-up worker on a real Kafka, killed once: what it tells is what polars makes of all rows at once."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from broker.consumer import read_to_end
from broker.facility import publish
from broker.producer import Producer
from schemas import arrow
from schemas.decode import decode as decode_records
from schemas.facility import load
from schemas.gpu import GPU
from schemas.meter import METER
from schemas.partial import Partial, decode
from schemas.subject import SubjectKind
from streams.roll_up import GPU_TOPIC, METER_TOPIC
from tests.streams.processes import REPOSITORY, Process

START = 1_700_000_000
SECOND = 1_000_000


def gpu_second(slots: pl.DataFrame, second: int) -> pl.DataFrame:
    """Return one reading of each slot: its power follows from second and slot."""
    number = pl.int_range(pl.len())
    columns = {
        "time": ((START + second) * SECOND + number % 40 * 20_000).cast(pl.Datetime("us")),
        "power_watts": (100 + second + number).cast(pl.Float32) / 10,
        "utilization_fraction": pl.lit(0.5),
        "temperature_celsius": pl.lit(41.0),
    }
    frame = slots.select("rack", "node", "gpu").with_columns(**columns)
    return frame.select(
        *(pl.col(name) if name in frame.columns else pl.lit(None).alias(name) for name in GPU.polars)
    ).cast(GPU.polars)


def meter_second(meters: pl.DataFrame, second: int) -> pl.DataFrame:
    """Return one reading of each meter on the whole second."""
    columns = {
        "time": pl.lit((START + second) * SECOND).cast(pl.Datetime("us")),
        "phase": pl.lit(0),
        "power_watts": (1000 + second + pl.col("meter")).cast(pl.Float64),
        "interval_seconds": pl.lit(1.0),
    }
    frame = meters.select("meter", "level").with_columns(**columns)
    return frame.select(
        *(pl.col(name) if name in frame.columns else pl.lit(None).alias(name) for name in METER.polars)
    ).cast(METER.polars)


async def send(bootstrap: str, messages: list[tuple[str, bytes, pl.DataFrame]]) -> None:
    async with Producer(bootstrap) as producer:
        for topic, key, frame in messages:
            record = GPU if topic == GPU_TOPIC else METER
            await producer.send(topic, arrow.encode(record, frame), key, arrow.headers(record))
        await producer.flush()


def told(bootstrap: str) -> list[Partial]:
    """Return the partials of seconds."""
    partials = [decode(message) for message in asyncio.run(read_to_end(bootstrap, "windows.rack.v1"))]
    return [partial for partial in partials if partial.envelope.kind not in {"piece", "histogram"}]


def wait_until(condition, within_secs: float = 30.0) -> None:
    deadline = time.monotonic() + within_secs
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.2)


def standing(partials: list[Partial], kind: SubjectKind) -> pl.DataFrame:
    """Return the version of each window that stands: the one with the most readings."""
    rows = pl.concat(partial.rows for partial in partials).filter(subject_kind=kind.value)
    unique = rows.sort("readings", maintain_order=True).unique(("second", "subject"), keep="last")
    return unique.sort("second", "subject")


def test_a_killed_worker_tells_the_same_windows_as_all_rows_at_once(fresh_kafka, tmp_path: Path):
    bootstrap = fresh_kafka.bootstrap
    registry = asyncio.run(publish(bootstrap, load(REPOSITORY / "examples" / "halo-2mw.toml")))
    racks = registry.slots["rack"].unique(maintain_order=True)[:4]
    slots = registry.slots.filter(pl.col("rack").is_in(racks.implode()))
    meters = registry.meters.head(6)
    seconds = range(40)
    gpu = [(GPU_TOPIC, b"rack %d" % rack, gpu_second(slots.filter(rack=rack), s)) for s in seconds for rack in racks]
    power = [(METER_TOPIC, b"meters", meter_second(meters, s)) for s in seconds]
    log = sorted(gpu + power, key=lambda each: each[2]["time"][0])
    later = log[80:]
    chance = random.Random(7)
    for at in range(0, 60, 5):  # late by up to three seconds, and some twice
        later.insert(at + chance.randint(1, 14), later.pop(at))
        later.insert(at + 2, later[at])

    worker = ("-m", "wattline", "worker", "roll-up", "--bootstrap", bootstrap, "--clock", "event")
    with Process(tmp_path / "first.log", *worker) as process:
        asyncio.run(send(bootstrap, log[:80]))
        wait_until(lambda: {p.envelope.topic for p in told(bootstrap) if p.envelope.kind == "closing"} == {
            GPU_TOPIC, METER_TOPIC,
        })  # fmt: skip
        asyncio.run(send(bootstrap, later[:30]))
        process.kill()
    asyncio.run(send(bootstrap, later[30:]))
    with Process(tmp_path / "second.log", *worker) as process:
        last = pl.lit((START + seconds[-1]) * SECOND).cast(pl.Datetime("us"))
        wait_until(
            lambda: (
                standing(told(bootstrap), SubjectKind.RACK).filter(pl.col("second") == last).height == len(racks)
                and standing(told(bootstrap), SubjectKind.METER).filter(pl.col("second") == last).height == len(meters)
            )
        )
        assert process.terminate() < 5
        assert process.popen.returncode == 0
    partials = told(bootstrap)

    every = pl.concat(frame for topic, _, frame in log if topic == GPU_TOPIC).unique()
    expected = (
        every.group_by(pl.col("time").dt.truncate("1s").alias("second"), pl.col("rack").alias("subject"))
        .agg((pl.col("power_watts") * 10).round().cast(pl.Int64).sum() * 100, pl.len().cast(pl.Int64).alias("readings"))
        .rename({"power_watts": "power_milliwatts"})
        .sort("second", "subject")
    )
    rack_rows = standing(partials, SubjectKind.RACK)
    assert_frame_equal(rack_rows.select(expected.columns), expected)
    every = pl.concat(frame for topic, _, frame in log if topic == METER_TOPIC)
    meter_rows = standing(partials, SubjectKind.METER).filter(pl.col("second") <= last)
    assert_frame_equal(
        meter_rows.select("second", "subject", "power_milliwatts"),
        every.select(
            pl.col("time").alias("second"),
            pl.col("meter").alias("subject"),
            (pl.col("power_watts") * 1000).cast(pl.Int64).alias("power_milliwatts"),
        ).sort("second", "subject"),
    )
    # What was told twice, before and after the kill, was told in the same words.
    closings = pl.concat(p.rows for p in partials if p.envelope.kind == "closing")
    again = closings.group_by("second", "subject_kind", "subject").agg(
        pl.len(), pl.struct(pl.all()).n_unique().alias("n")
    )
    assert again["n"].to_list() == [1] * len(again)
    assert again["len"].max() > 1


def test_refused_rows_go_to_their_topic_and_the_good_ones_on(fresh_kafka, tmp_path: Path):
    bootstrap = fresh_kafka.bootstrap
    registry = asyncio.run(publish(bootstrap, load(REPOSITORY / "examples" / "halo-2mw.toml")))
    good = gpu_second(registry.slots.head(8), 0)
    bad = good.with_columns(
        power_watts=pl.when(pl.int_range(pl.len()) == 3).then(float("nan")).otherwise("power_watts")
    )

    async def send_all():
        async with Producer(bootstrap) as producer:
            await producer.send(GPU_TOPIC, b"not a batch", b"r", arrow.headers(GPU))
            await producer.send(GPU_TOPIC, arrow.encode(GPU, bad.cast(GPU.polars)), b"r", arrow.headers(GPU))
            await producer.flush()

    asyncio.run(send_all())
    worker = ("-m", "wattline", "worker", "roll-up", "--bootstrap", bootstrap, "--clock", "event")
    with Process(tmp_path / "worker.log", *worker):
        wait_until(lambda: any(len(partial.rows) for partial in told(bootstrap)))
        refused = asyncio.run(read_to_end(bootstrap, "telemetry.rejected.v1"))
    rows = decode_records("telemetry.rejected.v1", refused, None).frame
    assert sorted(rows.select("offset", "row", "reason").rows()) == [(0, -1, "not_arrow"), (1, 3, "not_a_number")]
    assert {message.key for message in refused} == {GPU_TOPIC.encode()}
    noted = [partial for partial in told(bootstrap) if len(partial.rows)]
    assert noted[0].rows["reporting"].to_list() == [7]
