"""What a loss of power may do to a table's log, and how a start mends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import DataLossError
from sinks.lake.flush import Tables
from sinks.lake.ledger import LOG
from sinks.lake.log_check import SET_ASIDE, check_log
from sinks.lake.positions import Source
from sinks.lake.tables import TABLES
from tests.lake.readings import GPU_TOPIC, gpu_message, places_of, rows_of

SOURCE = Source(GPU_TOPIC, 0)
MESSAGES = [gpu_message(offset) for offset in range(12)]


def lake_of_flushes(lake: Path, flushes: int = 4) -> None:
    """Write a message a flush: the entry of version v brings offset v − 1."""
    tables = Tables(lake, "event")
    for message in MESSAGES[:flushes]:
        tables.flush({SOURCE: [message]}, None)


def refill(lake: Path) -> None:
    """Write everything that the table does not have, as a writer does from Kafka."""
    tables = Tables(lake, "event")
    position = tables.positions(SOURCE)["gpu"]
    tables.flush({SOURCE: MESSAGES[0 if position is None else position.next :]}, None)


def entry(lake: Path, version: int) -> Path:
    return lake / "gpu" / LOG / f"{version:020d}.json"


def empty(path: Path) -> None:
    path.write_bytes(b"")


def torn_at_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(lines[:-1]))


def torn_in_a_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def zeros(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def first_line_only(path: Path) -> None:
    path.write_bytes(path.read_bytes().splitlines()[0] + b"\n")


def missing(path: Path) -> None:
    path.unlink()


DAMAGES = [empty, torn_at_a_line, torn_in_a_line, zeros, first_line_only]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("version", [4, 2])
def test_a_damaged_entry_and_what_follows_is_set_aside_and_refilled(
    tmp_path: Path, damage: Callable[[Path], None], version: int
) -> None:
    lake_of_flushes(tmp_path)
    damage(entry(tmp_path, version))
    (sentence,) = check_log(tmp_path / "gpu")
    assert f"versions from {version} on are set aside" in sentence
    assert len(list((tmp_path / "gpu" / SET_ASIDE).iterdir())) == 5 - version
    refill(tmp_path)
    assert places_of(rows_of(tmp_path, "gpu")) == [(0, offset, row) for offset in range(12) for row in range(8)]


def test_a_missing_middle_entry_is_found(tmp_path: Path) -> None:
    lake_of_flushes(tmp_path)
    missing(entry(tmp_path, 2))
    (sentence,) = check_log(tmp_path / "gpu")
    assert "entry 2 is missing" in sentence
    refill(tmp_path)
    assert rows_of(tmp_path, "gpu").num_rows == 96


def test_a_sound_log_is_left_alone(tmp_path: Path) -> None:
    lake_of_flushes(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "gpu" / LOG).iterdir()}
    assert [check_log(table.folder(tmp_path)) for table in TABLES] == [[]] * len(TABLES)
    assert {path: path.read_bytes() for path in (tmp_path / "gpu" / LOG).iterdir()} == before


@pytest.mark.parametrize("damage", [empty, torn_in_a_line, zeros, missing])
def test_a_damaged_checkpoint_is_set_aside_with_its_pointer(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    lake_of_flushes(tmp_path)
    Tables(tmp_path)._ledgers["gpu"].checkpoint()
    damage(next((tmp_path / "gpu" / LOG).glob("*.checkpoint.parquet")))
    assert "_last_checkpoint names 4, the newest readable is -1" in check_log(tmp_path / "gpu")[-1]
    refill(tmp_path)
    assert rows_of(tmp_path, "gpu").num_rows == 96


def test_entries_below_a_sound_checkpoint_are_not_needed(tmp_path: Path) -> None:
    lake_of_flushes(tmp_path)
    Tables(tmp_path)._ledgers["gpu"].checkpoint()
    empty(entry(tmp_path, 2))
    assert check_log(tmp_path / "gpu") == []
    refill(tmp_path)
    assert rows_of(tmp_path, "gpu").num_rows == 96


def test_a_table_without_its_first_entry_halts(tmp_path: Path) -> None:
    lake_of_flushes(tmp_path)
    empty(entry(tmp_path, 0))
    with pytest.raises(DataLossError, match="there is no checkpoint: the later entries cannot be read"):
        check_log(tmp_path / "gpu")
    assert entry(tmp_path, 3).exists()


def test_a_table_that_was_only_just_made_is_made_again(tmp_path: Path) -> None:
    Tables(tmp_path)
    empty(entry(tmp_path, 0))
    assert len(check_log(tmp_path / "gpu")) == 1
    refill(tmp_path)
    assert rows_of(tmp_path, "gpu").num_rows == 96


def test_a_commit_of_another_engine_is_not_damage(tmp_path: Path) -> None:
    lake_of_flushes(tmp_path, 1)
    words = {"commitInfo": {"timestamp": 1, "operation": "OPTIMIZE", "engineInfo": "another"}}
    entry(tmp_path, 2).write_text(json.dumps(words))
    assert check_log(tmp_path / "gpu") == []
