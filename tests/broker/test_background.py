"""`wattline kafka start|stop|status`, as a person types it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.topics import TOPICS

REPOSITORY = Path(__file__).parents[2]
Typed = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def kafka_typed(tmp_path: Path) -> Iterator[Typed]:
    """Return a function that types `wattline kafka …` for a user with an empty home, and stop what runs at the end."""
    environ = {**os.environ, "XDG_DATA_HOME": os.fspath(tmp_path), "PYTHONPATH": os.fspath(REPOSITORY)}

    def typed(*words: str) -> subprocess.CompletedProcess:
        argv = [sys.executable, "-m", "wattline", "kafka", *words]
        return subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)

    yield typed
    typed("stop")


def test_it_outlives_its_command_serves_all_topics_and_stops(kafka_typed, tmp_path):
    assert kafka_typed("status").returncode == 1
    started = kafka_typed("start", "--port", "0")
    assert started.returncode == 0, started.stderr
    for words in (
        "Kafka started at 127.0.0.1:",
        f"data    {tmp_path}/wattline/kafka",
        f"{tmp_path}/wattline/kafka.log",
    ):
        assert words in started.stdout
    assert f"topics  {len(TOPICS)}" in kafka_typed("status").stdout
    again = kafka_typed("start")
    assert (again.returncode, "Kafka runs already at 127.0.0.1:" in again.stderr) == (78, True)
    assert kafka_typed("stop").returncode == 0
    stopped = kafka_typed("stop")
    assert (stopped.returncode, stopped.stderr.count("\n")) == (1, 1)
    assert "nothing to stop" in stopped.stderr


def test_one_that_was_killed_does_not_run(kafka_typed):
    assert kafka_typed("start", "--port", "0").returncode == 0
    os.kill(json.loads(kafka_typed("status", "--format", "json").stdout)["pid"], signal.SIGKILL)
    assert json.loads(kafka_typed("status", "--format", "json").stdout) == {"running": False}


def test_each_refusal_is_one_sentence_with_the_log(kafka_typed, tmp_path):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "song").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = [
            kafka_typed("start", "--port", port),
            kafka_typed("start", "--folder", os.fspath(tmp_path / "music")),
        ]
    for said, log in zip(refused, ("wattline/kafka.log", "music.log"), strict=True):
        assert said.returncode == 78
        assert said.stderr.count("\n") == 1
        assert f"(log: {tmp_path}/{log})" in said.stderr
        assert (tmp_path / log).is_file()
