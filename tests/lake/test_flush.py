"""The flush: from messages to durable rows of several tables."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from schemas.arrow import encode, headers
from schemas.message import Message
from schemas.rejected import REJECTED
from schemas.rejection import Refusal, refused_frame
from schemas.site_frames import FRAMES, SiteFrames
from schemas.window import WINDOW
from sinks.lake.flush import Tables
from sinks.lake.ledger import PositionMovedError
from sinks.lake.parquet import TEMPORARY
from sinks.lake.positions import Source
from tests.lake.readings import (
    GPU_TOPIC,
    POWER_TOPIC,
    START,
    frame,
    gpu_message,
    json_message,
    places_of,
    power_message,
    rows_of,
)

GPU_0, GPU_1, POWER = Source(GPU_TOPIC, 0), Source(GPU_TOPIC, 1), Source(POWER_TOPIC, 0)
HOUR = 3_600_000_000


def windows_message(offset: int, every_seconds: list[int]) -> Message:
    rows = frame(
        WINDOW,
        window_start=[START] * len(every_seconds),
        every_seconds=every_seconds,
        subject_kind=[4] * len(every_seconds),
        subject=range(len(every_seconds)),
        **dict.fromkeys(("expected", "reporting"), [1] * len(every_seconds)),
        **{name: [0] * len(every_seconds) for name in WINDOW.polars if name.startswith("version_")},
    )
    return Message("windows.site.v1", 0, offset, START, b"ruh", encode(WINDOW, rows), tuple(headers(WINDOW)))


def test_values_come_back_as_they_were_admitted(tmp_path: Path) -> None:
    Tables(tmp_path, "event").flush(
        {GPU_0: [gpu_message(7, rows=6)], POWER: [power_message(0, [1234.56789, 0.0])]}, None
    )
    gpu = rows_of(tmp_path, "gpu")
    assert gpu.column("power_deciwatts").to_pylist() == [1070] * 6
    assert gpu.column("node").to_pylist() == [18, 18, 18, 18, 19, 19]
    assert gpu.column("time").to_pylist() == [datetime(2026, 3, 1, 12, 0, 7)] * 6
    assert gpu.column("instance").null_count == 6
    assert rows_of(tmp_path, "power").column("power_watts").to_pylist() == [1234.56789, 0.0]


def test_rows_lie_in_the_folder_of_their_hour_sorted_by_device(tmp_path: Path) -> None:
    messages = [gpu_message(0, rack=9), gpu_message(1, rack=2), gpu_message(2, rack=9, time=START - HOUR)]
    Tables(tmp_path, "event").flush({GPU_0: messages}, None)
    files = {path.parent.name: pq.ParquetFile(path).read() for path in (tmp_path / "gpu").glob("hour=*/*.parquet")}
    assert sorted(files) == ["hour=2026-03-01T11", "hour=2026-03-01T12"]
    assert files["hour=2026-03-01T12"].column("rack").to_pylist() == [2] * 8 + [9] * 8


def test_the_log_says_what_readers_prune_by(tmp_path: Path) -> None:
    Tables(tmp_path, "event").flush({GPU_0: [gpu_message(0, rack=9), gpu_message(61, rack=2)]}, None)
    (action,) = DeltaTable(str(tmp_path / "gpu")).get_add_actions(flatten=True).to_struct_array().to_pylist()
    assert (action["num_records"], action["partition.hour"]) == (16, "2026-03-01T12")
    assert (action["min.rack"], action["max.rack"]) == (2, 9)
    assert (action["min.time"], action["max.time"]) == (datetime(2026, 3, 1, 12), datetime(2026, 3, 1, 12, 1, 1))


def test_a_file_carries_the_hash_of_its_bytes_in_its_name(tmp_path: Path) -> None:
    Tables(tmp_path, "event").flush({GPU_0: [gpu_message(0)]}, None)
    (path,) = (tmp_path / "gpu").glob("hour=*/*.parquet")
    assert path.name.split("-")[1] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not list((tmp_path / "gpu" / TEMPORARY).iterdir())


def test_a_bad_row_costs_nothing_but_itself_and_the_position_moves_past_it(tmp_path: Path) -> None:
    tables = Tables(tmp_path, "event")
    tables.flush({POWER: [power_message(0, [1.0, float("nan"), 2.0]), json_message(POWER_TOPIC, 1, b"garbage")]}, None)
    assert places_of(rows_of(tmp_path, "power")) == [(0, 0, 0), (0, 0, 2)]
    position = tables.positions(POWER)["power"]
    assert position is not None and position.next == 2


def test_windows_go_to_two_tables_and_what_is_wrong_to_rejected(tmp_path: Path) -> None:
    source = Source("windows.site.v1", 0)
    messages = [
        windows_message(0, [1, 60, 1]),
        json_message("windows.site.v1", 1, b"\xff\xff"),
        windows_message(2, [1, 0]),
    ]
    tables = Tables(tmp_path, "event")
    tables.flush({source: messages}, None)
    assert places_of(rows_of(tmp_path, "windows_1s")) == [(0, 0, 0), (0, 0, 2), (0, 2, 0)]
    assert places_of(rows_of(tmp_path, "windows_1m")) == [(0, 0, 1)]
    rejected = rows_of(tmp_path, "rejected")
    assert rejected.column("topic").to_pylist() == ["windows.site.v1"] * 2
    assert rejected.column("reason").to_pylist() == ["not_json", "out_of_range"]
    assert {position.next for position in tables.positions(source).values() if position} == {3}


def test_a_table_behind_another_takes_only_what_is_new_to_it(tmp_path: Path) -> None:
    """The process was killed between the commits of two tables of one topic."""
    source = Source("windows.site.v1", 0)
    messages = [windows_message(offset, [1, 60]) for offset in range(6)]

    class Killed(BaseException):
        pass

    def kill(step: str) -> None:
        if step == "entry synced":
            raise Killed

    with pytest.raises(Killed):
        Tables(tmp_path, "event", kill).flush({source: messages[:3]}, None)
    tables = Tables(tmp_path, "event")
    assert {name: None if p is None else p.next for name, p in tables.positions(source).items()} == {
        "windows_1s": 3,
        "windows_1m": None,
        "rejected": None,
    }
    tables.flush({source: messages}, None)
    assert places_of(rows_of(tmp_path, "windows_1s")) == [(0, offset, 0) for offset in range(6)]
    assert places_of(rows_of(tmp_path, "windows_1m")) == [(0, offset, 1) for offset in range(6)]


def test_refused_rows_of_the_streams_are_kept_with_where_they_came_from(tmp_path: Path) -> None:
    bad = json_message(GPU_TOPIC, 41, b"{")
    refused = refused_frame([Refusal(bad, 0, "not_json", "is not one JSON object", value="{")])
    message = Message("telemetry.rejected.v1", 0, 3, START, None, encode(REJECTED, refused), tuple(headers(REJECTED)))
    Tables(tmp_path).flush({Source("telemetry.rejected.v1", 0): [message]}, None)
    (row,) = rows_of(tmp_path, "rejected").to_pylist()
    assert (row["topic"], row["offset"], row["_topic"], row["_offset"]) == (GPU_TOPIC, 41, "telemetry.rejected.v1", 3)
    assert row["reason"] == "not_json"


def test_a_flush_of_years_writes_a_bounded_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.lake.flush.MAX_FILES", 5)
    messages = [gpu_message(offset, time=START - offset * 200 * HOUR) for offset in range(40)]
    Tables(tmp_path, "event").flush({GPU_0: messages}, None)
    assert len(DeltaTable(str(tmp_path / "gpu")).file_uris()) == 5
    assert rows_of(tmp_path, "gpu").num_rows == 40 * 8


FULL_DISK = """
import resource, sys
from pathlib import Path
from schemas.errors import UnavailableError
from sinks.lake.flush import Tables
from sinks.lake.ledger import PositionMovedError
from sinks.lake.positions import Source
from tests.lake.readings import GPU_TOPIC, gpu_message

source = Source(GPU_TOPIC, 0)
tables = Tables(Path(sys.argv[1]), "event")
tables.flush({source: [gpu_message(0)]}, None)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    tables.flush({source: [gpu_message(offset, rows=900) for offset in range(1, 40)]}, None)
except UnavailableError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
tables.reopen()
print(tables.positions(source)["gpu"].next)
tables.flush({source: [gpu_message(1)]}, None)
"""


@pytest.mark.parametrize("limit", [0, 700, 8_000])
def test_a_disk_that_takes_no_more_is_one_clear_sentence_and_loses_nothing(tmp_path: Path, limit: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(limit)], capture_output=True, text=True, check=True
    )
    said, position = ended.stdout.splitlines()
    assert "nothing is lost, Kafka keeps the rows" in said
    assert position == "1"
    assert places_of(rows_of(tmp_path, "gpu")) == [(0, offset, row) for offset in range(2) for row in range(8)]
    live = DeltaTable(str(tmp_path / "gpu")).file_uris()
    assert sorted(map(str, (tmp_path / "gpu").rglob("*.parquet"))) == sorted(live)


def test_json_documents_become_rows_that_sql_can_ask(tmp_path: Path) -> None:
    job = {
        "job": "llama-1",
        "site": "ruh",
        "started": "2026-03-01T12:00:00Z",
        "allocations": [{"node": "ruh/h1/r04/k17/n03", "gpu_first": 0, "gpu_last": 3}],
        "measured": [{"meter": "ruh/m1", "started": "2026-03-01T12:00:00Z", "ended": "2026-03-01T13:00:00+01:00"}],
    }
    progress = {"time": "2026-03-01T12:30:00Z", "job": "llama-1", "tokens": 10**12}
    alert = {
        "id": "x",
        "transition": "firing",
        "rule": "r",
        "rule_version": "1",
        "site": "ruh",
        "subject_kind": "rack",
        "subject": "ruh/h1/r04/k17",
        "severity": "critical",
        "start": "2026-03-01T12:00:00Z",
        "at": "2026-03-01T12:00:30Z",
        "value": 140.5,
        "evidence": [{"time": "2026-03-01T12:00:29Z", "value": 141.0}],
        "cause": [{"job": "llama-1", "watts": 90.0}],
    }
    empty = {name: pl.DataFrame(schema=schema) for name, schema in FRAMES.items()}
    facility = json.loads(SiteFrames("ruh", 3, datetime(2026, 3, 1), empty).to_json())
    documents = {
        "telemetry.jobs.v1": (job, b"llama-1"),
        "telemetry.progress.v1": (progress, b"llama-1"),
        "alerts.v1": (alert, b"r ruh"),
        "facility.v1": (facility, b"ruh"),
    }
    pending = {
        Source(topic, 0): [json_message(topic, 0, json.dumps(value).encode(), key)]
        for topic, (value, key) in documents.items()
    }
    Tables(tmp_path).flush(pending, None)
    (row,) = rows_of(tmp_path, "jobs").to_pylist()
    assert row["allocations"][0]["path"] == "ruh/h1/r04/k17/n03"
    assert row["allocations"][0]["node"] < 0
    assert row["measured"][0]["ended"] == datetime(2026, 3, 1, 12)
    assert rows_of(tmp_path, "progress").to_pylist()[0]["tokens"] == 10**12
    (row,) = rows_of(tmp_path, "alerts").to_pylist()
    assert row["cause"] == [{"job": "llama-1", "watts": 90.0}]
    assert row["evidence"] == [{"time": datetime(2026, 3, 1, 12, 0, 29), "value": 141.0}]
    (row,) = rows_of(tmp_path, "facility").to_pylist()
    assert (row["site"], row["version"], row["effective_from"]) == ("ruh", 3, datetime(2026, 3, 1))
    assert json.loads(row["document"]) == facility


def test_messages_that_begin_behind_the_position_are_refused(tmp_path: Path) -> None:
    tables = Tables(tmp_path, "event")
    tables.flush({GPU_0: [gpu_message(0)]}, None)
    with pytest.raises(PositionMovedError, match="gathered from offset 2 on, and the table stands at 1"):
        tables.flush({GPU_0: [gpu_message(2)]}, None)
    assert places_of(rows_of(tmp_path, "gpu")) == [(0, 0, row) for row in range(8)]
