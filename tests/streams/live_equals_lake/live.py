"""The streams on a real Kafka while their workers are killed: two roll-up workers and the evaluator."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from broker.consumer import read_to_end
from broker.facility import publish
from broker.producer import Producer
from schemas import arrow
from schemas.alert import Alert, decode_alert
from schemas.facility import load
from schemas.message import Message
from schemas.registry import Registry
from schemas.subject import SubjectKind
from streams import snapshot
from streams.roll_up import JOBS_TOPIC
from tests.streams.live_equals_lake.campus_jobs import as_sent, campus_jobs
from tests.streams.live_equals_lake.campus_log import CAMPUS, RULES, SECOND, START, Sent
from tests.streams.live_equals_lake.worker import READING
from tests.streams.processes import Process

SLOTS = (("roll-up", 0), ("roll-up", 1), ("evaluate", 0))
WINDOWS, HISTOGRAMS, ALERTS = "windows.site.v1", "windows.histogram.v1", "alerts.v1"
FIRST_SECS = 6.0
"""Of the log, sent before any worker starts: no partition that will be used is idle then."""
SPEED = 10.0
"""Seconds of the log a second, while kills are behind less."""


class Kills:
    """How many kills are wanted and done; a kill counts where its victim was assigned and had read something.

    A victim lives for some time between the two `lives`, in seconds, after it first read something.
    """

    def __init__(self, wanted: int, seed: int, lives: tuple[float, float] = (0.1, 3.5)) -> None:
        self.wanted, self.done = wanted, 0
        self._chance, self._lives = random.Random(seed), lives

    def life(self) -> float:
        """Return how long a victim may live."""
        return self._chance.uniform(*self._lives)

    @property
    def share(self) -> float:
        """Return how much of the log may be sent: it must last for all kills."""
        return (self.done + 1) / (self.wanted + 1)


async def publish_campus(bootstrap: str) -> Registry:
    """Publish the campus so that it is in force before the log begins."""
    return await publish(bootstrap, load(CAMPUS), datetime(2025, 1, 1))


async def send_jobs(bootstrap: str, registry: Registry) -> None:
    """Send the records of the campus's jobs, all before the first reading."""
    async with Producer(bootstrap) as producer:
        for job in campus_jobs(registry):
            await producer.send(JOBS_TOPIC, as_sent(job), job.job.encode())
        await producer.flush(within_secs=60)


def rules_file(folder: Path) -> Path:
    """Write the rules of the campus as a file."""
    lines = ["schema_version = 1"]
    for rule in RULES:
        given = rule.model_dump(exclude_defaults=True, exclude_none=True)
        lines += ["[[rules]]", *(f"{name} = {json.dumps(value)}" for name, value in given.items())]
    path = folder / "rules.toml"
    path.write_text("\n".join(lines))
    return path


async def live_through_kills(
    bootstrap: str, log: list[Sent], kills: Kills, folder: Path, *, end: int, rule: str = "revisable"
) -> None:
    """Send a log while workers are killed; return when windows are told through the second `end`."""
    async with Producer(bootstrap) as producer:
        first = [each for each in log if each.at < FIRST_SECS]
        await _send(producer, first)
        async with _workers(bootstrap, kills, folder, rule) as workers:
            sending = asyncio.create_task(_send_slowly(producer, log[len(first) :], kills))
            await _first_done([sending, *workers])
            await _first_done([asyncio.create_task(_until_told(bootstrap, end)), *workers])


@asynccontextmanager
async def _workers(bootstrap: str, kills: Kills, folder: Path, rule: str) -> AsyncIterator[list[asyncio.Task[None]]]:
    rules = str(rules_file(folder))
    tasks = [
        asyncio.create_task(_live_again(folder, kills, part, bootstrap, str(slot), rule, rules)) for part, slot in SLOTS
    ]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _live_again(folder: Path, kills: Kills, part: str, bootstrap: str, slot: str, *more: str) -> None:
    """Run one worker, life after life; the last one lives until this task is cancelled."""
    for life in range(1_000):
        log = folder / f"{part}-{slot}-{life}.log"
        with Process(log, "-m", "tests.streams.live_equals_lake.worker", part, bootstrap, slot, *more) as worker:
            while READING not in worker.output:
                assert worker.popen.poll() is None, worker.output
                await asyncio.sleep(0.05)
            await asyncio.sleep(kills.life())
            if kills.done >= kills.wanted:
                await asyncio.Event().wait()
            kills.done += 1
            worker.kill()


async def _send_slowly(producer: Producer, log: list[Sent], kills: Kills) -> None:
    """Send a log in its order at SPEED, and no more of it than the share of kills that are done."""
    whole, at = log[-1].at, FIRST_SECS
    while log:
        await asyncio.sleep(0.1)
        at = max(at, min(at + SPEED / 10, kills.share * whole)) if kills.done < kills.wanted else at + SPEED / 10
        due = sum(each.at <= at for each in log[:500])
        await _send(producer, log[:due])
        log = log[due:]


async def _send(producer: Producer, log: Iterable[Sent]) -> None:
    for each in log:
        value = arrow.encode(each.record, each.rows)
        await producer.send(f"{each.record.name}.v1", value, each.key, arrow.headers(each.record))
    await producer.flush(within_secs=60)


async def _until_told(bootstrap: str, end: int, within_secs: float = 240.0) -> None:
    """Return once a closing through the second `end` is told, and the minutes before it to their last message."""
    deadline = time.monotonic() + within_secs
    while (told := min(await _told_seconds(bootstrap), await _told_minutes(bootstrap) + 60)) < end:
        assert time.monotonic() < deadline, f"windows are told through {told - START} s of {end - START}"
        await asyncio.sleep(0.5)
    # Revisions of devices' minutes come after all that closes. A snapshot is of an evaluator that has told them, too.
    before = await _snapshots(bootstrap)
    while await _snapshots(bootstrap) == before:
        assert time.monotonic() < deadline, "no snapshot: the evaluator has more to tell"
        await asyncio.sleep(0.2)


async def _snapshots(bootstrap: str) -> int:
    """Return the offset after the newest snapshot."""
    return max((message.offset + 1 for message in await read_to_end(bootstrap, snapshot.TOPIC)), default=0)


async def _told_seconds(bootstrap: str) -> int:
    closings = await _closings(bootstrap, WINDOWS)
    return max((c["end_second"] // SECOND for c in closings if c["every_seconds"] == 1), default=0)


async def _told_minutes(bootstrap: str) -> int:
    """Return the end of the minutes of which all is told: the histograms of racks' GPUs come last."""
    closings = await _closings(bootstrap, HISTOGRAMS)
    return max((c["end_second"] // SECOND for c in closings if c["subject_kinds"] == [SubjectKind.RACK]), default=0)


async def _closings(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    return [json.loads(m.header("closing") or b"{}") for m in await read_to_end(bootstrap, topic)]


async def _first_done(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for the first task; a worker that ended by itself fails here."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    if tasks[0] not in done:
        await asyncio.wait(tasks[:1])


async def raw_logs(bootstrap: str) -> dict[str, list[Message]]:
    """Return all messages of the topics of readings."""
    return {topic: await read_to_end(bootstrap, topic) for topic in ("telemetry.gpu.v1", "telemetry.power.v1")}


async def told_alerts(bootstrap: str) -> dict[tuple[object, ...], Alert]:
    """Return each transition that was told, once."""
    alerts = [decode_alert(message) for message in await read_to_end(bootstrap, ALERTS)]
    return {alert.identity: alert for alert in alerts}
