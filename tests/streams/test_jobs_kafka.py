"""Through a real Kafka: a job starts, a worker and the evaluator are killed, it ends; its windows are its readings."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.facility import publish
from broker.producer import Producer
from schemas.decode import decode
from schemas.job import Allocation, Job, encode, job_subject
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from schemas.time import moment
from tests.streams.changing import GPU_TOPIC, METER_TOPIC, Plan
from tests.streams.processes import Process

pytestmark = pytest.mark.kafka

PLAN = Plan({"k01": ("r01", 1, 2, 20_000.0), "k02": ("r01", 1, 2, 20_000.0)})
SECOND = 1_000_000
WATTS = 100.0


async def measure(bootstrap: str, registry: Registry, stop: asyncio.Event) -> None:
    """Send readings by path twice a second: the nth GPU draws n more than WATTS."""
    slots = registry.slots.join(registry.paths(SubjectKind.RACK).rename({"id": "rack", "path": "rack_path"}), on="rack")
    slots = slots.join(registry.paths(SubjectKind.NODE).rename({"id": "node", "path": "node_path"}), on="node")
    async with Producer(bootstrap) as producer:
        while not stop.is_set():
            now = datetime.now(UTC).isoformat()
            for nth, (rack, node, gpu) in enumerate(slots.select("rack_path", "node_path", "gpu").iter_rows()):
                said = {"time": now, "rack": rack, "node": node, "gpu": gpu, "power_watts": WATTS + nth}
                await producer.send(GPU_TOPIC, json.dumps(said).encode(), rack.encode())
            for path in registry.meters["path"]:
                said = {"time": now, "meter": path, "power_watts": 500.0, "interval_seconds": 0.5}
                await producer.send(METER_TOPIC, json.dumps(said).encode(), path.rpartition("/")[0].encode())
            await asyncio.sleep(0.5)


async def say(bootstrap: str, registry: Registry, started: datetime, ended: datetime | None = None) -> None:
    """Send the record of a job that has all GPUs of both racks."""
    parts = [Allocation(path) for path in registry.paths(SubjectKind.NODE)["path"]]
    said = Job(job="train", site="ruh", started=started, ended=ended, allocations=parts)
    async with Producer(bootstrap) as producer:
        await producer.send("telemetry.jobs.v1", encode(said), b"train")
        await producer.flush()


async def seconds_of_job(bootstrap: str) -> pl.DataFrame:
    """Return the greatest version of each of the job's seconds."""
    messages = await read_to_end(bootstrap, "windows.site.v1")
    rows = decode("windows.site.v1", messages, None).frame
    mine = rows.filter(every_seconds=1, subject_kind=int(SubjectKind.JOB), subject=job_subject("ruh", "train"))
    version = ["version_admission", "version_facility", "version_generation", "version_readings", "version_digest"]
    newest = mine.sort("window_start", *version).unique("window_start", keep="last", maintain_order=True)
    return newest.with_columns(at=pl.col("window_start").to_physical() // SECOND)


async def raw_seconds(bootstrap: str) -> list[tuple[int, int, float]]:
    """Return (second, GPUs, watts) of the readings in Kafka; each GPU says the same again and again."""
    rows = decode(GPU_TOPIC, await read_to_end(bootstrap, GPU_TOPIC), assign(PLAN.facility())).frame
    once = rows.with_columns(at=pl.col("time").to_physical() // SECOND).unique(["at", "node", "gpu"])
    return once.group_by("at").agg(pl.len(), pl.col("power_watts").cast(pl.Float64).sum()).sort("at").rows()


async def until(bootstrap: str, second: int, within_secs: float = 60.0) -> pl.DataFrame:
    """Wait until whole seconds of the job are told through one second; return them."""
    deadline = time.monotonic() + within_secs
    while True:
        told = await seconds_of_job(bootstrap)
        if len(told.filter((pl.col("at") >= second) & (pl.col("reporting") == 4))):
            return told
        assert time.monotonic() < deadline, f"the job's second {second} is not told: {told['at'].to_list()[-3:]}"
        await asyncio.sleep(0.3)


async def withdrawn(bootstrap: str, second: int, within_secs: float = 30.0) -> pl.DataFrame:
    """Wait until no second from one on is the job's; return its seconds."""
    deadline = time.monotonic() + within_secs
    while True:
        told = (await seconds_of_job(bootstrap)).filter(pl.col("expected") > 0)
        if told["at"].max() == second - 1:
            return told
        assert time.monotonic() < deadline, f"the job is told after its end {second}: {told['at'].to_list()[-5:]}"
        await asyncio.sleep(0.3)


async def play(bootstrap: str, folder: Path, stack: ExitStack) -> tuple[int, int, pl.DataFrame]:
    registry, stop = assign(PLAN.facility()), asyncio.Event()
    workers = {name: start(bootstrap, folder, stack, name, 0) for name in ("roll-up", "evaluate")}
    measuring = asyncio.create_task(measure(bootstrap, registry, stop))
    try:
        started = datetime.now(UTC) + timedelta(seconds=3)
        await say(bootstrap, registry, started)
        first = -(-int(started.timestamp() * SECOND) // SECOND)
        await until(bootstrap, first + 3)
        for life, name in enumerate(("roll-up", "evaluate", "roll-up"), 1):
            workers[name].kill()
            workers[name] = start(bootstrap, folder, stack, name, life)
            await until(bootstrap, int(time.time()) + 2)
        end = int(time.time()) - 3
        await say(bootstrap, registry, started, moment(end * SECOND))
        return first, end, await withdrawn(bootstrap, end)
    finally:
        stop.set()
        await measuring


def start(bootstrap: str, folder: Path, stack: ExitStack, name: str, life: int) -> Process:
    argv = ("-m", "wattline", "worker", name, "--bootstrap", bootstrap)
    return stack.enter_context(Process(folder / f"{name}-{life}.log", *argv))


def test_a_jobs_windows_through_kills_and_its_end(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    asyncio.run(publish(fresh_kafka.bootstrap, PLAN.facility()))
    with ExitStack() as stack:
        first, end, told = asyncio.run(play(fresh_kafka.bootstrap, tmp_path, stack))
    measured = asyncio.run(raw_seconds(fresh_kafka.bootstrap))
    assert told["expected"].unique().to_list() == [4]
    # Whoever was killed, each second is whole in the end; on a busy machine the readings themselves have gaps.
    whole = told.select("at", "reporting", "power_watts").filter(pl.col("reporting") > 0)
    assert whole.rows() == [row for row in measured if first <= row[0] < end]
