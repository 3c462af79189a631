"""Full speed: a log of the whole campus, from Kafka to windows in Kafka, as fast as the two workers go.

The log is written once for each size of message; every run begins on a copy of it. CPU is that of roll up
and evaluate by rusage, from start to end, less what the same two cost when they start on empty topics.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.campus import SECOND, START, campus_registry, elsewhere
from benchmarks.processes import Measured, cpu_secs, worker
from broker.admin import create_topics
from broker.consumer import follow
from broker.embedded import EmbeddedKafka
from broker.facility import publish
from schemas.facility import load
from wattline.scales import facility_file

SETTLED_SECS = 8.0
"""By then a worker on empty topics has read the facility, has its partitions and waits."""
ENDS_WITHIN_SECS = 300.0


class Log(NamedTuple):
    """A broker's folder with the campus in it, and what it holds."""

    folder: Path
    rows: int
    last_second: int


class Run(NamedTuple):
    """What one run cost in CPU seconds, and how long it took."""

    roll_up: float
    evaluate: float
    bare: float
    broker: float
    wall: float

    @property
    def ours(self) -> float:
        """Return what all our processes cost."""
        return self.roll_up + self.evaluate


def write_log(folder: Path, rows_a_message: int, seconds: int, times: int = 1) -> Log:
    """Fill the topics of a broker in `folder` and stop it again."""
    with EmbeddedKafka(folder) as kafka:
        asyncio.run(_prepare(kafka.bootstrap, times))
        argv = ["-m", "benchmarks.load", kafka.bootstrap, "--start", str(START), "--seconds", str(seconds)]
        subprocess.run([sys.executable, *argv, "--rows", str(rows_a_message), "--times", str(times)], check=True)
    return Log(folder, len(campus_registry(times).slots) * seconds, START + seconds - 1)


async def _prepare(bootstrap: str, times: int) -> None:
    await create_topics(bootstrap)
    facility = load(facility_file("150MW"))
    await publish(bootstrap, facility)
    for number in range(1, times):
        await publish(bootstrap, elsewhere(facility, number))


@contextmanager
def copied(log: Log) -> Iterator[EmbeddedKafka]:
    """Run a broker on a copy of a log."""
    with tempfile.TemporaryDirectory(dir=log.folder.parent) as folder:
        shutil.copytree(log.folder, Path(folder) / "kafka")
        with EmbeddedKafka(Path(folder) / "kafka") as kafka:
            yield kafka


def start_up_secs(folder: Path, times: int = 1) -> list[float]:
    """Return the CPU seconds that each worker costs before the first message."""
    with tempfile.TemporaryDirectory(dir=folder) as name, EmbeddedKafka(Path(name)) as kafka:
        asyncio.run(_prepare(kafka.bootstrap, times))
        workers = _workers(kafka.bootstrap, folder)
        time.sleep(SETTLED_SECS)
        return [each.end() for each in workers]


def run_once(log: Log, start_up: Sequence[float], folder: Path) -> Run:
    """Let both workers go over the log until the windows of its last second but one are in Kafka."""
    with copied(log) as kafka:
        bare = subprocess.run(
            [sys.executable, "-m", "benchmarks.streams.bare", kafka.bootstrap, str(log.rows)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        (before,) = cpu_secs([kafka.nodes[0].pid])
        began = time.monotonic()
        workers = _workers(kafka.bootstrap, folder)
        asyncio.run(asyncio.wait_for(_windows_through(kafka.bootstrap, log.last_second), ENDS_WITHIN_SECS))
        wall = time.monotonic() - began
        spent = [each.end() - before_any for each, before_any in zip(workers, start_up, strict=True)]
        (after,) = cpu_secs([kafka.nodes[0].pid])
    return Run(*spent, float(bare.stdout), after - before, wall)


def _workers(bootstrap: str, folder: Path) -> list[Measured]:
    return [worker(part, bootstrap, folder, "--clock", "event") for part in ("roll-up", "evaluate")]


async def _windows_through(bootstrap: str, second: int) -> None:
    """Return when the windows up to the start of `second` are on windows.site.v1; sites close together."""
    async for message in follow(bootstrap, "windows.site.v1", "earliest"):
        closing = msgspec.json.decode(message.header("closing") or b"{}")
        if closing.get("every_seconds") == 1 and closing["end_second"] >= second * SECOND:
            return
