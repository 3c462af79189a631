"""Jobs and progress: what is encoded comes back with ids, and a bad record costs no other."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import duckdb

from schemas.job import Allocation, Job, Measured, Progress, decode_jobs, decode_progress, encode, job_path, job_subject
from schemas.message import Message
from schemas.place import unregistered_id
from schemas.subject import SubjectKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODE, METER = "ruh/h1/r04/k17/n03", "ruh/h1/r04/k17/a"
IDS = {(SubjectKind.NODE, NODE): 22}
REGISTRY = SimpleNamespace(
    id_of=lambda kind, path: IDS.get((kind, path)),
    path_of=lambda kind, place: {(k, known): path for (k, path), known in IDS.items()}.get((kind, place)),
)
JOB = Job(
    job="train-7",
    site="ruh",
    workload="training",
    started=NOW,
    ended=NOW + timedelta(hours=1),
    allocations=[Allocation(NODE, 0, 7)],
    measured=[Measured(METER, NOW, NOW)],
)


def message(value: bytes | None, key: bytes | None = b"train-7", topic: str = "telemetry.jobs.v1") -> Message:
    return Message(topic, 0, 3, 0, key, value)


def test_a_job_comes_back_with_ids_beside_its_paths() -> None:
    (placed,), refused = decode_jobs([message(encode(JOB))], REGISTRY)
    assert refused.is_empty()
    assert placed.record.allocations == [Allocation(22, 0, 7, NODE)]
    assert placed.record.measured == [Measured(unregistered_id(METER), NOW, NOW, METER)]
    assert placed.record.started == NOW
    assert (placed.message.offset, placed.row) == (3, 0)


def test_an_id_gets_the_path_that_the_registry_knows() -> None:
    job = {"job": "train-7", "site": "ruh", "allocations": [{"node": 22, "gpu_first": 0, "gpu_last": 0}]}
    (placed,), _ = decode_jobs([message(json.dumps(job).encode())], REGISTRY)
    assert placed.record.allocations == [Allocation(22, 0, 0, NODE)]


def test_a_tombstone_is_no_garbage() -> None:
    records, refused = decode_jobs([message(None)], None)
    assert records == []
    assert refused.is_empty()


def test_times_in_microseconds_are_read_in_every_place() -> None:
    micros = int(NOW.timestamp() * 1_000_000)
    span = {"meter": METER, "started": micros, "ended": micros}
    job = {"job": "train-7", "site": "ruh", "started": micros, "measured": [span]}
    (placed,), _ = decode_jobs([message(json.dumps(job).encode())], None)
    assert placed.record.started == NOW
    assert placed.record.measured[0].ended == NOW


def test_the_key_is_the_job_since_the_topic_is_compacted_by_it() -> None:
    for key in (None, b"train-8"):
        records, refused = decode_jobs([message(encode(JOB), key)], None)
        assert records == []
        assert refused["reason"].to_list() == ["wrong_key"]


def test_a_value_deep_in_a_job_is_named_by_its_path_and_shown_alone() -> None:
    spans = [{"node": NODE, "gpu_first": 0, "gpu_last": 0}, {"node": NODE, "gpu_first": 0, "gpu_last": 70_000}]
    job = {"job": "train-7", "site": "ruh", "allocations": spans}
    refused = decode_jobs([message(json.dumps(job).encode())], None).refused
    told = refused.select("reason", "field", "value").rows()
    assert told == [("out_of_range", "allocations[1].gpu_last", "70000")]


def test_half_a_range_of_gpus_is_refused_and_no_range_is_all_of_the_node() -> None:
    spans = [{"node": NODE}, {"node": NODE, "gpu_first": 3}]
    job = {"job": "train-7", "site": "ruh", "allocations": spans[:1]}
    (placed,), _ = decode_jobs([message(json.dumps(job).encode())], REGISTRY)
    assert placed.record.allocations == [Allocation(22, None, None, NODE)]
    refused = decode_jobs([message(json.dumps(job | {"allocations": spans}).encode())], REGISTRY).refused
    assert refused.select("reason", "field").rows() == [("missing_field", "allocations[1].gpu_last")]


def test_a_requeued_job_keeps_the_interval_it_had_before() -> None:
    before = Allocation(NODE, 0, 3, started=NOW, ended=NOW + timedelta(minutes=5))
    job = Job(job="train-7", site="ruh", started=NOW + timedelta(hours=1), allocations=[before, Allocation(NODE)])
    (placed,), _ = decode_jobs([message(encode(job))], REGISTRY)
    assert placed.record.allocations == [
        Allocation(22, 0, 3, NODE, NOW, NOW + timedelta(minutes=5)),
        Allocation(22, None, None, NODE),
    ]
    backwards = Allocation(NODE, started=NOW, ended=NOW - timedelta(seconds=1))
    refused = decode_jobs([message(encode(Job(job="train-7", site="ruh", allocations=[backwards])))], REGISTRY).refused
    assert refused.select("reason", "field").rows() == [("bad_time", "allocations[0].ended")]


def test_duckdb_gives_a_job_the_same_number() -> None:
    for site, job in (("ruh", "train-7"), ("ruh", "tränen/7"), ("dmm", "x" * 128)):
        number = duckdb.execute("SELECT (md5_number_lower(? || '/' || ?) & 2147483647)::INTEGER", [site, job])
        assert number.fetchall() == [(job_subject(site, job),)]
    assert job_path("ruh", "train-7") == "ruh/train-7"


def test_progress_in_lines_is_refused_line_by_line() -> None:
    good = encode(Progress(time=NOW, job="train-7", images=5))
    bad = good.replace(b":5", b":-5")
    records, refused = decode_progress([message(b"\n".join([good, bad, good]), None, "telemetry.progress.v1")])
    assert [(placed.row, placed.record.images) for placed in records] == [(0, 5), (2, 5)]
    assert refused.select("row", "reason", "field").rows() == [(1, "out_of_range", "images")]
