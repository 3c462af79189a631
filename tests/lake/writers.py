"""A feeder of Kafka and writers in processes of their own, for the fault tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from broker.producer import Producer
from schemas.arrow import headers
from schemas.gpu import GPU
from tests.conftest import REPOSITORY
from tests.lake.readings import GPU_TOPIC, gpu_message

PATIENCE_SECS = 40.0


class Feeder:
    """Send readings and other records, a few hundred messages a second, until told to stop."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._feed()))

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._thread.join()

    async def _feed(self) -> None:
        number = 0
        async with Producer(self._bootstrap) as producer:
            while not self._stopping.is_set():
                await feed(producer, range(number, number + 10))
                number += 10
                await asyncio.sleep(0.05)


async def feed(producer: Producer, numbers: range) -> None:
    """Send one message of GPU readings a number, now and then one of each other kind, and wait for all."""
    for number in numbers:
        message = gpu_message(number % 1_000_000, rack=number % 37, time=time.time_ns() // 1000)
        await producer.send(GPU_TOPIC, message.value, key=message.key, headers=headers(GPU))
        if number % 10 == 0:
            progress = {"time": "2026-03-01T12:00:00Z", "job": f"job-{number}", "steps": number}
            await producer.send("telemetry.progress.v1", json.dumps(progress).encode(), key=b"job")
            for topic in ("windows.site.v1", "alerts.v1", "telemetry.jobs.v1"):
                await producer.send(topic, b"garbage %d" % number, key=b"key-%d" % (number % 50))
    await producer.flush()


def feed_once(bootstrap: str, count: int) -> None:
    """Send `count` messages of readings, and the others that go with them."""

    async def send() -> None:
        async with Producer(bootstrap) as producer:
            await feed(producer, range(count))

    asyncio.run(send())


class WriterProcess:
    """A writer in a process of its own, whose steps and log lines come through one pipe."""

    def __init__(self, options: dict) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.lake.writer_process", json.dumps(options)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.popen.stdout
        self.lines.extend(line.strip() for line in self.popen.stdout)

    def has_said(self, words: str) -> bool:
        """Tell whether a line of its log has these words in it."""
        return any(words in line for line in self.lines)

    def latest(self) -> str:
        """Return its latest lines, for a person who looks at a failed test."""
        return "\n".join(self.lines[-40:])

    def wait_for(self, step: str, times: int = 1) -> None:
        """Wait until the writer has done a step so many times."""
        wait_until(lambda: self.lines.count(step) >= times, lambda: f"{step} after {self.latest()}")

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE_SECS)

    def kill(self) -> None:
        """End it at once."""
        self.popen.kill()
        self.popen.wait(PATIENCE_SECS)


def wait_until(condition: Callable[[], bool], said: Callable[[], str] = lambda: "") -> None:
    """Wait for a condition, at most PATIENCE_SECS; fail with what is said then."""
    deadline = time.monotonic() + PATIENCE_SECS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_SECS:.0f} s in vain: {said()}")
        time.sleep(0.02)
