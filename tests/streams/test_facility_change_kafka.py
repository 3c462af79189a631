"""Through a real Kafka: a rack is unknown, joins while roll up and the evaluator run, and neither starts again."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.facility import publish, read_timeline
from broker.producer import Producer
from schemas.alert import decode_alert
from schemas.decode import decode
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from schemas.timeline import SECOND
from tests.streams.changing import GPU_TOPIC, METER_TOPIC, RULES, Plan
from tests.streams.processes import Process
from web.workers import Workers

BEFORE = Plan({"k01": ("r01", 1, 2, 20_000.0), "k02": ("r01", 1, 2, 20_000.0)})
JOINED = Plan({**BEFORE.racks, "k09": ("r01", 1, 2, 9_000.0)})
SIDE_WATTS = 5_000.0
"""Each side of each rack: more than the new one's budget allows."""


def rules_file(folder: Path) -> Path:
    lines = ["schema_version = 1"]
    for rule in RULES:
        given = rule.model_dump(exclude_defaults=True, exclude_none=True)
        lines += ["[[rules]]", *(f"{name} = {json.dumps(value)}" for name, value in given.items())]
    (folder / "rules.toml").write_text("\n".join(lines))
    return folder / "rules.toml"


async def measure(bootstrap: str, registry: Registry, stop: asyncio.Event) -> None:
    """Send readings by path, as any collector does, twice a second: of every rack, registered or not."""
    slots = registry.slots.join(registry.paths(SubjectKind.RACK).rename({"id": "rack", "path": "rack_path"}), on="rack")
    slots = slots.join(registry.paths(SubjectKind.NODE).rename({"id": "node", "path": "node_path"}), on="node")
    async with Producer(bootstrap) as producer:
        while not stop.is_set():
            now = datetime.now(UTC).isoformat()
            for rack, node, gpu in slots.select("rack_path", "node_path", "gpu").iter_rows():
                said = {"time": now, "rack": rack, "node": node, "gpu": gpu, "power_watts": 1_000.0}
                await producer.send(GPU_TOPIC, json.dumps(said).encode(), rack.encode())
            for path in registry.meters["path"]:
                said = {"time": now, "meter": path, "power_watts": SIDE_WATTS, "interval_seconds": 0.5}
                await producer.send(METER_TOPIC, json.dumps(said).encode(), path.rpartition("/")[0].encode())
            await asyncio.sleep(0.5)


async def windows(bootstrap: str) -> pl.DataFrame:
    messages = await read_to_end(bootstrap, "windows.site.v1")
    return decode("windows.site.v1", messages, None).frame.filter(pl.col("every_seconds") == 1)


async def unregistered(bootstrap: str) -> list[str]:
    """Return what `wattline top` shows of racks that are in no facility."""
    workers = Workers()
    workers.take(await read_to_end(bootstrap, "health.v1"))
    return workers.unregistered(datetime.now(UTC))


async def play(bootstrap: str, within_secs: float = 60.0) -> tuple[int, pl.DataFrame]:
    """Measure, let the rack join, and go on until its alert fires; return the second of the change and the windows."""
    registry = assign(JOINED.facility(), assign(BEFORE.facility()))
    stop = asyncio.Event()
    measuring = asyncio.create_task(measure(bootstrap, registry, stop))
    deadline = time.monotonic() + within_secs
    try:
        while (await windows(bootstrap)).is_empty():
            assert time.monotonic() < deadline and not measuring.done(), "no window is told"
            await asyncio.sleep(0.2)
        while await unregistered(bootstrap) != ["ruh/h1/r01/k09"]:
            assert time.monotonic() < deadline and not measuring.done(), "nobody says who is in no facility"
            await asyncio.sleep(0.2)
        await publish(bootstrap, JOINED.facility())
        start = (await read_timeline(bootstrap, "wall")).newest_version("ruh").start
        while True:
            alerts = [decode_alert(message) for message in await read_to_end(bootstrap, "alerts.v1")]
            told = await windows(bootstrap)
            ours = [alert for alert in alerts if (alert.rule, alert.subject) == ("rack-high", "ruh/h1/r01/k09")]
            newest = told["window_start"].cast(pl.Int64).max()
            if ours and isinstance(newest, int) and newest > start + 2 * SECOND:
                assert [alert.transition for alert in ours] == ["firing"]
                assert (ours[0].limit, ours[0].value) == (9_000.0, 2 * SIDE_WATTS)
                assert start <= ours[0].at.timestamp() * SECOND < start + 2 * SECOND
                return start, told
            assert time.monotonic() < deadline and not measuring.done(), "no alert of the rack that joined"
            await asyncio.sleep(0.2)
    finally:
        stop.set()
        await measuring


def test_a_rack_joins_live_and_its_own_limit_fires(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    bootstrap = fresh_kafka.bootstrap
    asyncio.run(publish(bootstrap, BEFORE.facility()))
    worker = ("-m", "wattline", "worker")
    rules = ("--rules", str(rules_file(tmp_path)))
    with (
        Process(tmp_path / "roll-up.log", *worker, "roll-up", "--bootstrap", bootstrap) as roll_up,
        Process(tmp_path / "evaluate.log", *worker, "evaluate", "--bootstrap", bootstrap, *rules) as evaluate,
    ):
        start, told = asyncio.run(play(bootstrap))
        assert (roll_up.popen.poll(), evaluate.popen.poll()) == (None, None), roll_up.output + evaluate.output
    racks = told.filter(pl.col("subject_kind") == SubjectKind.RACK)
    second = pl.col("window_start").cast(pl.Int64)
    joined = assign(JOINED.facility(), assign(BEFORE.facility())).ids(SubjectKind.RACK)["ruh/h1/r01/k09"]
    assert racks.filter(pl.col("subject") == joined).select(second.min()).item() == start
    assert told.filter(second < start)["version_facility"].unique().to_list() == [1]
    assert told.filter(second >= start)["version_facility"].unique().to_list() == [2]
    rows = told.filter((pl.col("subject_kind") == SubjectKind.ROW) & (second > start - 3 * SECOND))
    by_second = dict(rows.select(second - start, "expected").rows())
    assert (by_second[-SECOND], by_second[0]) == (4, 6)
