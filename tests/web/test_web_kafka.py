"""The app beside a real Kafka and real workers: the canary's way from its reading to /health, and who is missed."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from broker import ports
from broker.embedded import EmbeddedKafka
from broker.facility import publish
from schemas.facility import load
from tests.streams.processes import Process
from wattline.commands.alerts import command as alerts_verb
from wattline.scales import facility_file

PATIENCE_SECS = 90.0
PERIOD_SECS = 6
READERS = {"roll-up", "evaluate"}


class Running:
    """Roll up, evaluate and the app as processes of their own; the canary sings every PERIOD_SECS."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        (port,) = ports.free(1)
        self.address = f"http://127.0.0.1:{port}"
        self._folder = folder
        self.parts: dict[str, Process] = {}
        self.start("web", "--port", str(port), "--canary-secs", str(PERIOD_SECS))

    def start(self, part: str, *options: str) -> None:
        argv = ("-m", "wattline", "worker", part, "--bootstrap", self.bootstrap, *options)
        self.parts[part] = Process(self._folder / f"{part}.log", *argv)

    def health(self) -> dict[str, Any]:
        """Return what /health says, whatever its status; empty while nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)
        except OSError:
            return {}

    def until(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return what /health says once it is so; fail with it where that does not happen."""
        deadline = time.monotonic() + PATIENCE_SECS
        while not is_so(said := self.health()):
            assert time.monotonic() < deadline, f"{said}\n{self.parts['web'].output}"
            time.sleep(0.2)
        return said

    def metrics(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        with urllib.request.urlopen(f"{self.address}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            samples = [sample for family in families for sample in family.samples]
        return {each.name: [(s.labels, s.value) for s in samples if s.name == each.name] for each in samples}


@pytest.fixture
def running(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[Running]:
    started = Running(fresh_kafka.bootstrap, tmp_path)
    yield started
    for process in started.parts.values():
        process.kill()


def test_the_canary_comes_out_and_a_killed_evaluator_is_missed_and_then_the_canary(running: Running) -> None:
    running.until(lambda said: any("no facility is published" in each for each in said.get("problems", ())))
    asyncio.run(publish(running.bootstrap, load(facility_file("2MW"))))
    for part in READERS:
        running.start(part)
    running.until(lambda said: said.get("ok") is True and said["canary"]["age_seconds"] is not None)
    running.until(lambda said: {w["app"] for w in said["workers"] if w["longest_lag_seconds"] is not None} == READERS)
    found = running.metrics()
    assert found["wattline_canary_age_seconds"][0][1] < PATIENCE_SECS
    partitions = {(labels["app"], labels["topic"]) for labels, _ in found["wattline_consumer_lag_seconds"]}
    assert {("roll-up", "telemetry.gpu.v1"), ("evaluate", "windows.rack.v1")} <= partitions
    rows = {(labels["app"], labels["topic"]): value for labels, value in found["wattline_rows_total"]}
    assert rows["evaluate", "telemetry.power.v1"] >= 1

    shown = CliRunner().invoke(alerts_verb, ["--bootstrap", running.bootstrap, "--state", "all", "--format", "json"])
    assert json.loads(shown.stdout) == []
    asked = ["--bootstrap", running.bootstrap, "--state", "all", "--format", "json", "--canary"]
    episodes = json.loads(CliRunner().invoke(alerts_verb, asked).stdout)
    assert {episode["rule"] for episode in episodes} == {"canary"}
    assert all(episode["subject"] == "canary/h1/r01/k01" for episode in episodes)

    running.parts["evaluate"].kill()
    running.until(lambda said: any("evaluate-0 on" in each and "last heard" in each for each in said["problems"]))
    running.until(lambda said: any("the canary's alert is overdue" in each for each in said["problems"]))

    running.parts["roll-up"].terminate()  # it says good-bye, so it is not missed but its work is
    said = running.until(lambda said: "no worker of roll-up is heard: is it running?" in said["problems"])
    assert "roll-up" not in [worker["app"] for worker in said["workers"]]
    assert running.parts["web"].terminate() < 8
    assert running.parts["web"].end() == 0
