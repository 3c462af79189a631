"""`wattline tap`: every format decoded, nothing raw on the terminal, a bad message shown as what it is."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas import arrow
from schemas.column import Record
from schemas.gpu import GPU
from schemas.job import Job, encode
from schemas.message import Message
from schemas.meter import METER
from schemas.partial import PARTIAL, Envelope, Partial
from schemas.partial import encode as encode_partial
from schemas.subject import SubjectKind
from tests.bad_input.cases import cases, gpu_rows, meter_rows
from wattline.commands.tap import command
from wattline.tap_lines import as_json, as_text, read

NOW = 1_767_225_600_000_000
RACK = "ruh/h1/r04/k17"
REGISTRY: Any = SimpleNamespace(
    id_of=lambda kind, path: None,
    path_of=lambda kind, place: RACK if (kind, place) == (SubjectKind.RACK, 1) else None,
    meters=pl.DataFrame(schema={"meter": pl.Int32, "level": pl.Int8}),
)
RAW_ON_A_TERMINAL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069]")


def message(topic: str, value: bytes | None, headers: Any = (), key: bytes | None = b"k") -> Message:
    return Message(topic, 0, 5, NOW, key, value, tuple(headers))


def native(topic: str, record: Record, frame: pl.DataFrame) -> Message:
    return message(topic, arrow.encode(record, frame), arrow.headers(record))


def test_native_readings_are_shown_with_paths_and_plain_numbers() -> None:
    told = native("telemetry.gpu.v1", GPU, gpu_rows(NOW, 46).with_columns(power_watts=pl.lit(700.1, pl.Float32)))
    lines = list(as_text(told, REGISTRY))
    assert lines[0].startswith("telemetry.gpu.v1/0/5 2026-01-01T00:00:00.000Z key=k ")
    assert f"rack={RACK} node=1 gpu=0 " in lines[1]
    assert "power_watts=700.1 " in lines[1]
    assert lines[-1] == "  … 41 more"
    rows = [json.loads(line) for line in as_json(told, REGISTRY)]
    assert len(rows) == 46
    assert rows[45] | {"rack": RACK, "node": 6, "gpu": 5, "power_watts": 700.1, "_offset": 5} == rows[45]


def test_json_readings_show_the_path_as_it_was_sent() -> None:
    line = json.dumps({"time": NOW, "meter": "ruh/h1/x", "power_watts": 5}).encode()
    (row,) = read(message("telemetry.power.v1", line), None)
    assert (row["meter"], row["power_watts"], row["time"]) == ("ruh/h1/x", 5.0, "2026-01-01T00:00:00.000000Z")


def test_partials_show_their_envelope_and_their_subjects() -> None:
    row = {"second": datetime(2026, 1, 1), "subject_kind": 4, "subject": 1, "utilization_count": 0}
    row |= {"expected": 1, "reporting": 1, "readings": 1, "digest": 7}
    frame = pl.concat([PARTIAL.empty(), pl.DataFrame([row]).cast({n: PARTIAL.polars[n] for n in row})], how="diagonal")
    envelope = Envelope("telemetry.gpu.v1", 3, 10, 20, "closing", NOW, NOW + 1_000_000, NOW)
    value, headers = encode_partial(Partial(envelope, frame))
    head, shown = read(message("windows.rack.v1", value, headers), REGISTRY)
    assert head["_partial"]["kind"] == "closing"
    assert (shown["subject_kind"], shown["subject"]) == ("rack", RACK)


def test_jobs_alerts_tombstones_and_snapshots_are_told_apart() -> None:
    job = encode(Job(job="k", site="ruh", started=datetime(2026, 1, 1, tzinfo=UTC)))
    assert read(message("telemetry.jobs.v1", job), None) == [
        {"job": "k", "site": "ruh", "started": "2026-01-01T00:00:00Z"}
    ]
    assert read(message("telemetry.jobs.v1", None), None) == [{"_tombstone": True}]
    assert read(message("alerts.v1", b'{"id": "a", "limit": 5}'), None) == [{"id": "a", "limit": 5}]
    (snapshot,) = read(message("alerts.state.v1", zlib.compress(b"x" * 5000)), None)
    assert snapshot["_kind"] == "zlib of 5000 bytes"
    (bomb,) = read(message("alerts.state.v1", zlib.compress(bytes(20_000_000))), None)
    assert bomb["_kind"] == "zlib of more than 16777216 bytes"


@pytest.mark.parametrize("name", [case.name for case in cases(NOW)])
def test_bad_messages_are_shown_as_what_they_are_and_never_raw(name: str) -> None:
    case = next(case for case in cases(NOW) if case.name == name)
    told = message(case.topic, case.value, case.headers, case.key)
    for line in [*as_text(told, None), *as_json(told, None)]:
        assert not RAW_ON_A_TERMINAL.search(line)


def test_escape_sequences_of_others_do_not_reach_the_terminal() -> None:
    hostile = json.dumps({"note": "\x1b[2J\u202egnp.exe", "\x1b]0;x": 1}).encode()
    for told in (message("alerts.v1", hostile, key=b"\x1b[31m"), message("unknown.topic", b"\x1b[2J\xff\x9b1m")):
        lines = [*as_text(told, None), *as_json(told, None)]
        assert lines
        assert not any(RAW_ON_A_TERMINAL.search(line) for line in lines)


def test_a_tap_on_a_real_kafka_ends_at_its_limit(kafka: EmbeddedKafka, new_topic: Any) -> None:
    topic = new_topic("tapped")

    async def send() -> None:
        async with Producer(kafka.bootstrap) as producer:
            for value in (b'{"a": 1}', b"\x1b[2J"):
                await (await producer.send(topic, value, key=b"k"))

    asyncio.run(send())
    arguments = [topic, "--from", "earliest", "--limit", "2", "--format", "json", "--bootstrap", kafka.bootstrap]
    told = CliRunner().invoke(command, arguments)
    assert told.exit_code == 0, told.output
    first, second = (json.loads(line) for line in told.stdout.splitlines())
    assert (first["a"], first["_offset"]) == (1, 0)
    assert second["_begins"] == "\\x1b[2J"


def test_meters_are_shown_by_id_where_nothing_is_published() -> None:
    (row,) = read(native("telemetry.power.v1", METER, meter_rows(NOW, 1)), None)
    assert (row["meter"], row["power_watts"]) == (1, 60_000.5)
