"""`wattline lake status`, and the name of a lake towards Kafka."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from schemas.errors import ConfigurationError
from sinks.lake.flush import Tables
from sinks.lake.locks import group_of, lake_lock, slot_lock
from sinks.lake.positions import Source
from sinks.lake.status import read_status, sources_of
from sinks.lake.tables import TABLES
from tests.lake.readings import GPU_TOPIC, gpu_message
from wattline.commands.lake import command

NO_KAFKA = "127.0.0.1:1"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    tables = Tables(tmp_path, "event")
    tables.flush({Source(GPU_TOPIC, 3): [gpu_message(offset, 3) for offset in range(4)]}, None)
    tables.flush({Source(GPU_TOPIC, 3): [gpu_message(4, 3)]}, None)
    return tmp_path


def test_status_in_json_has_rows_times_and_positions(lake: Path) -> None:
    answer = CliRunner().invoke(command, ["status", "--lake", str(lake), "--bootstrap", NO_KAFKA, "--format", "json"])
    assert answer.exit_code == 0
    assert "lag is not known: no Kafka answers at 127.0.0.1:1" in answer.stderr
    gpu = next(table for table in json.loads(answer.stdout) if table["table"] == "gpu")
    assert (gpu["rows"], gpu["files"], gpu["version"]) == (40, 2, 2)
    assert gpu["bytes"] == sum(path.stat().st_size for path in (lake / "gpu").glob("hour=*/*.parquet"))
    assert (gpu["newest_event"], gpu["newest_append"]) == ("2026-03-01T12:00:04.000000Z", "2026-03-01T12:00:04.005000Z")
    offsets = {part["partition"]: (part["next_offset"], part["lag"]) for part in gpu["positions"]}
    assert (offsets[3], offsets[2]) == ((5, None), (None, None))


def test_status_for_people_shows_what_is_missing_as_a_dash(lake: Path) -> None:
    answer = CliRunner().invoke(command, ["status", "--lake", str(lake), "--bootstrap", NO_KAFKA])
    lines = {line.split()[0]: line for line in answer.stdout.splitlines()}
    assert "40" in lines["gpu"] and "2026-03-01 12:00:04" in lines["gpu"]
    assert lines["jobs"].split()[1:3] == ["0", "0"] and "—" in lines["jobs"]


def test_lag_is_what_kafka_has_beyond_the_positions(lake: Path) -> None:
    ends = {source: 0 for table in TABLES for source in sources_of(table)}
    gpu = next(table for table in read_status(lake, ends | {Source(GPU_TOPIC, 3): 9}) if table.table == "gpu")
    assert gpu.lag is not None and sum(gpu.lag.values()) == 4


def test_a_folder_without_a_lake_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no lake at .*: start the lake writer"):
        read_status(tmp_path)


def test_every_writer_of_a_lake_uses_one_group_and_each_lake_its_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        groups = set(pool.map(lambda _: group_of(tmp_path / "a"), range(64)))
    assert len(groups) == 1
    assert groups != {group_of(tmp_path / "b")}
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".group"]


def test_a_slot_has_one_holder_and_the_lake_many_or_one(tmp_path: Path) -> None:
    first, second = slot_lock(tmp_path, 0), slot_lock(tmp_path, 0)
    assert first.try_alone() and not second.try_alone()
    first.release()
    assert second.try_alone()
    one, other = lake_lock(tmp_path), lake_lock(tmp_path)
    assert one.try_alone() and not other.try_shared()
    assert one.try_shared() and other.try_shared() and not other.try_alone()
    for lock in (second, one, other):
        lock.release()
