"""`wattline simulate` against a real Kafka: every second arrives whole, one rack a message."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
from simulated_facility import toml

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.facility import read_registry
from schemas import arrow
from schemas.gpu import GPU
from schemas.meter import METER
from schemas.subject import SubjectKind


def simulate(kafka: EmbeddedKafka, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "wattline", "simulate", "--bootstrap", kafka.bootstrap, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_seconds_arrive_whole_and_without_a_gap(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    file, truth = tmp_path / "facility.toml", tmp_path / "out" / "truth.jsonl"
    file.write_text(toml(), encoding="utf-8")
    incident = ("--incident", "rack-over-limit", "--truth", str(truth))
    sending = simulate(fresh_kafka, str(file), "--duration-secs", "4", "--seed", "5", "--no-jitter", *incident)
    _, said = sending.communicate(timeout=60)
    assert sending.returncode == 0, said
    registry = asyncio.run(read_registry(fresh_kafka.bootstrap))

    messages = asyncio.run(read_to_end(fresh_kafka.bootstrap, "telemetry.gpu.v1"))
    gpus = arrow.decode(GPU, messages)
    assert gpus.refused.is_empty()
    by_second = gpus.frame.group_by("time").len().sort("time")
    assert by_second["len"].to_list() == [len(registry.slots)] * 4
    assert by_second["time"].diff().drop_nulls().dt.total_milliseconds().to_list() == [1000] * 3
    racks = gpus.frame.group_by("_partition", "_offset").agg(pl.col("rack").unique())
    keys = {(message.partition, message.offset): message.key for message in messages}
    for partition, offset, (rack,) in racks.iter_rows():
        assert keys[partition, offset] == str(registry.path_of(SubjectKind.RACK, rack)).encode()

    power = arrow.decode(METER, asyncio.run(read_to_end(fresh_kafka.bootstrap, "telemetry.power.v1")))
    assert power.refused.is_empty()
    assert set(power.frame["meter"]) == set(registry.meters["meter"])
    jobs = asyncio.run(read_to_end(fresh_kafka.bootstrap, "telemetry.jobs.v1"))
    assert all(json.loads(message.value)["job"].encode() == message.key for message in jobs)
    assert [json.loads(line)["kind"] for line in truth.read_text().splitlines()] == ["rack-over-limit"]


def test_a_campus_in_force_is_simulated_until_told_to_stop(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Without a FACILITY the published one counts, and none is refused; SIGTERM ends it and it says what is safe."""
    refused = simulate(fresh_kafka)
    _, said = refused.communicate(timeout=60)
    assert refused.returncode == 78
    assert "wattline facility publish" in said
    file = tmp_path / "facility.toml"
    file.write_text(toml(), encoding="utf-8")
    simulate(fresh_kafka, str(file), "--duration-secs", "1").communicate(timeout=60)
    sending = simulate(fresh_kafka)
    before = len(asyncio.run(read_to_end(fresh_kafka.bootstrap, "telemetry.gpu.v1")))
    while len(asyncio.run(read_to_end(fresh_kafka.bootstrap, "telemetry.gpu.v1"))) == before:
        assert sending.poll() is None
    sending.send_signal(signal.SIGTERM)
    _, said = sending.communicate(timeout=20)
    assert sending.returncode == 0, said
    assert "rows to telemetry.gpu.v1" in said
