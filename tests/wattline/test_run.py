"""`wattline run` before there is a facility, and what its workers are told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from broker.embedded import EmbeddedKafka
from broker.facility import publish
from schemas.facility import load
from wattline.parts import PARTS, Settings, workers
from wattline.scales import facility_file

ROOT = Path(__file__).resolve().parents[2]


def await_text(path: Path, within_secs: float) -> None:
    """Return when a worker has begun to write its log; fail after the bound."""
    deadline = time.monotonic() + within_secs
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline, f"{path} is still empty after {within_secs} s"
        time.sleep(0.05)


def test_without_a_facility_it_waits_for_one_and_then_runs(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "wattline", "run", "--only", "lake", "--bootstrap", fresh_kafka.bootstrap]
    environ = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(argv, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        assert run.stderr is not None
        assert "waiting: no facility is published" in run.stderr.readline()
        asyncio.run(publish(fresh_kafka.bootstrap, load(facility_file("2MW"))))
        assert "running lake on" in run.stderr.readline()
        await_text(tmp_path / "wattline" / "logs" / "lake-0.log", within_secs=20)
        run.send_signal(signal.SIGTERM)
        assert run.wait(15) == 0
    finally:
        run.kill()


def test_each_part_is_told_what_it_needs_and_no_more() -> None:
    settings = Settings("host:1", Path("/lake"), "event", Path("/rules.toml"), roll_up_workers=2)
    told = {worker.name: " ".join(worker.argv[3:]) for worker in workers(PARTS, settings)}
    assert told == {
        "roll-up-0": "worker roll-up --slot 0 --bootstrap host:1 --clock event",
        "roll-up-1": "worker roll-up --slot 1 --bootstrap host:1 --clock event",
        "evaluate-0": "worker evaluate --slot 0 --bootstrap host:1 --clock event --rules /rules.toml",
        "lake-0": "worker lake --slot 0 --bootstrap host:1 --clock event --lake /lake",
        "upkeep-0": "worker upkeep --slot 0 --bootstrap host:1 --clock event --lake /lake",
        "history-0": "worker history --slot 0 --bootstrap host:1 --clock event --lake /lake",
        "web-0": "worker web --slot 0 --bootstrap host:1 --clock event --lake /lake --port 8420",
    }


def test_who_stands_by_and_the_second_group_are_told_the_same_and_where_they_belong() -> None:
    settings = Settings("host:1", Path("/lake"), standby=True, groups=2, first_slot=4)
    told = {worker.name: " ".join(worker.argv[3:]) for worker in workers(PARTS, settings)}
    evaluate = "worker evaluate --slot 0 --bootstrap host:1 --clock wall"
    roll_up = "worker roll-up --slot 4 --bootstrap host:1 --clock wall"
    assert told == {
        "roll-up-4": roll_up,
        "roll-up-4-standby": roll_up,
        "roll-up-b-4": f"{roll_up} --group b",
        "roll-up-b-4-standby": f"{roll_up} --group b",
        "evaluate-0": evaluate,
        "evaluate-0-standby": evaluate,
        "evaluate-b-0": f"{evaluate} --group b",
        "evaluate-b-0-standby": f"{evaluate} --group b",
        "lake-0": "worker lake --slot 0 --bootstrap host:1 --clock wall --lake /lake",
        "upkeep-0": "worker upkeep --slot 0 --bootstrap host:1 --clock wall --lake /lake",
        "history-0": "worker history --slot 0 --bootstrap host:1 --clock wall --lake /lake",
        "web-0": "worker web --slot 0 --bootstrap host:1 --clock wall --lake /lake --port 8420",
    }
