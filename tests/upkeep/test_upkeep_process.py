"""The upkeep as a process: it ends when asked, one of two stands by, and it says how it does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.admin import create_topics
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from schemas.topics import BY_NAME
from sinks.lake.locks import upkeep_lock
from tests.conftest import REPOSITORY
from tests.lake.writers import wait_until

NOWHERE = "127.0.0.1:1"


class Upkeep:
    """An upkeep process whose lines are read as they come."""

    def __init__(self, bootstrap: str, lake: Path, duties: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.upkeep.upkeep_process", bootstrap, str(lake), duties],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.popen.stderr
        self.lines.extend(line.strip() for line in self.popen.stderr)

    def wait_for(self, words: str, times: int = 1) -> None:
        wait_until(lambda: sum(words in line for line in self.lines) >= times, lambda: "\n".join(self.lines[-30:]))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Upkeep]]:
    started: list[Upkeep] = []

    def one(duties: str = "quick", bootstrap: str = NOWHERE) -> Upkeep:
        started.append(Upkeep(bootstrap, tmp_path / "lake", duties))
        return started[-1]

    yield one
    for each in started:
        each.popen.kill()
        each.popen.wait()


def test_a_duty_that_would_never_end_is_cut_off_when_the_process_is_asked_to_end(start: Callable[..., Upkeep]) -> None:
    upkeep = start("endless")
    upkeep.wait_for("endless: endless began")
    asked = time.monotonic()
    upkeep.popen.send_signal(signal.SIGTERM)
    assert upkeep.popen.wait(10) == 0
    assert time.monotonic() - asked < 5.5  # the supervisor kills after six


def test_a_second_process_of_one_lake_stands_by_until_the_first_is_gone(start: Callable[..., Upkeep]) -> None:
    first = start()
    first.wait_for("quick was done", 2)
    second = start()
    second.wait_for("standing by")
    first.popen.kill()
    second.wait_for("quick was done")
    assert not any(
        "quick" in line
        for line in second.lines[: next(number for number, line in enumerate(second.lines) if "standing by" in line)]
    )
    second.popen.send_signal(signal.SIGTERM)
    assert second.popen.wait(10) == 0


def test_a_duty_waits_for_whoever_holds_the_upkeep_of_the_lake(start: Callable[..., Upkeep], tmp_path: Path) -> None:
    lock = upkeep_lock(tmp_path / "lake")
    assert lock.try_alone()
    upkeep = start()
    upkeep.wait_for("upkeep of")
    assert not any("quick was done" in line for line in upkeep.lines)
    lock.release()
    upkeep.wait_for("quick was done")


def test_it_says_how_it_does_and_takes_that_away_at_its_end(kafka: EmbeddedKafka, start: Callable[..., Upkeep]) -> None:
    asyncio.run(create_topics(kafka.bootstrap, topics=[BY_NAME["health.v1"]]))

    def told() -> list[bytes | None]:
        return [
            each.value for each in asyncio.run(read_to_end(kafka.bootstrap, "health.v1")) if each.key == b"upkeep-0"
        ]

    upkeep = start(bootstrap=kafka.bootstrap)
    wait_until(lambda: bool(told()))
    record = json.loads(told()[0] or b"")
    assert (record["app"], record["slot"], record["pid"]) == ("upkeep", 0, upkeep.popen.pid)
    upkeep.popen.send_signal(signal.SIGTERM)
    assert upkeep.popen.wait(10) == 0
    assert told()[-1] is None
