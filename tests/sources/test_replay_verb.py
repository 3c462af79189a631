"""`wattline replay` on a real Kafka: what it says, what arrives, and what stays when more is replayed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.facility import read_registry
from schemas.decode import decode
from schemas.job import decode_jobs
from schemas.subject import SubjectKind
from tests.sources.recorded_logs import analyser_log, job_log, loadgen_log, node_log
from wattline.commands.replay import command

ROOT = Path(__file__).resolve().parents[2]


def replay(kafka: EmbeddedKafka, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WATTLINE_BOOTSTRAP": kafka.bootstrap}
    command = [sys.executable, "-m", "wattline", "replay", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    for node in range(3):
        node_log(tmp_path / "train" / "power" / "r1" / f"node_{node}.txt", [100 + node, -42, 0], first=0.1 * node)
    return job_log(tmp_path / "train" / "r1.txt", 0, 5).parent


@pytest.fixture
def inference(tmp_path: Path) -> Path:
    analyser_log(tmp_path / "infer" / "spl.txt", [200, 201, 202], first=3600)
    return loadgen_log(tmp_path / "infer" / "mlperf_log_detail.txt", 3600, 3602).parent


def test_a_replay_says_what_it_found_and_ends_when_all_is_acknowledged(
    fresh_kafka: EmbeddedKafka, training: Path, inference: Path
) -> None:
    with (training / "power" / "r1" / "node_2.txt").open("a") as log:
        log.write("slurmstepd: error: *** JOB CANCELLED ***\n")
    answer = replay(fresh_kafka, training, inference, "--speed", "max")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[:-1] == [
        "mllog: 1 run, 3 meters, 9 readings, 2024-05-16 15:48:33 UTC to 2024-05-16 15:48:38 UTC",
        "ptdaemon: 1 run, 1 meter, 3 readings, 2024-05-16 16:48:33 UTC to 2024-05-16 16:48:35 UTC",
        "all: 12 rows with phases, 2 jobs",
        "left out: 1 line that could not be read, named on stderr",
    ]
    assert answer.stdout.splitlines()[-1].startswith(
        "acknowledged: 12 rows to telemetry.power.v1, 2 rows to telemetry.jobs.v1, in "
    )
    assert f"replay: {training}/power/r1/node_2.txt:6: no :::MLLOG in it; left out" in answer.stderr

    registry = asyncio.run(read_registry(fresh_kafka.bootstrap))
    readings = decode(
        "telemetry.power.v1", asyncio.run(read_to_end(fresh_kafka.bootstrap, "telemetry.power.v1")), registry
    ).frame
    assert sorted(readings["power_watts"]) == [-42, -42, -42, 0, 0, 0, 100, 101, 102, 200, 201, 202]
    assert readings["time"].is_sorted()
    assert set(readings["meter"]) == set(registry.ids(SubjectKind.METER).values())
    jobs = decode_jobs(asyncio.run(read_to_end(fresh_kafka.bootstrap, "telemetry.jobs.v1")), registry)
    assert [len(placed.record.measured) for placed in jobs.records] == [3, 1]
    assert all(span.meter > 0 for placed in jobs.records for span in placed.record.measured)


def test_what_was_replayed_before_keeps_its_place_and_a_facility_without_the_meters_changes_nothing(
    fresh_kafka: EmbeddedKafka, training: Path, inference: Path
) -> None:
    assert replay(fresh_kafka, training).returncode == 0
    first = asyncio.run(read_registry(fresh_kafka.bootstrap))
    assert replay(fresh_kafka, inference).returncode == 0
    both = asyncio.run(read_registry(fresh_kafka.bootstrap))
    assert first.ids(SubjectKind.METER).items() < both.ids(SubjectKind.METER).items()
    assert replay(fresh_kafka, training / "power" / "r1" / "node_0.txt").returncode == 0
    again = asyncio.run(read_registry(fresh_kafka.bootstrap))
    assert (again.version, again.ids(SubjectKind.METER)) == (both.version, both.ids(SubjectKind.METER))

    refused = replay(fresh_kafka, training, "--facility", ROOT / "examples" / "halo-2mw.toml")
    assert refused.returncode == 78
    assert "the facility lacks 3 of the recorded meters" in refused.stderr
    assert asyncio.run(read_registry(fresh_kafka.bootstrap)).sites["path"].equals(both.sites["path"])


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "inf"])
def test_a_speed_that_is_none_is_a_usage_error(speed: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(command, [str(tmp_path), f"--speed={speed}"])
    assert answer.exit_code == 2
    assert "neither a number above 0 nor max" in answer.output
