"""The ledger: commits that move positions, and what refuses them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from sinks.lake import ledger as ledger_module
from sinks.lake.flush import Tables
from sinks.lake.ledger import CommitRefusedError, Ledger, PositionMovedError
from sinks.lake.parquet import ParquetFile, write_file
from sinks.lake.positions import Position, Source, app_id
from sinks.lake.rows import read_rows
from sinks.lake.tables import BY_NAME
from tests.lake.readings import GPU_TOPIC, gpu_message, places_of, rows_of

TABLE = BY_NAME["gpu"]
A, B = Source(GPU_TOPIC, 0), Source(GPU_TOPIC, 1)


def at(offset: int) -> Position:
    return Position(offset, offset * 7, offset * 1000)


def a_file(lake: Path, offset: int) -> ParquetFile:
    rows: pa.Table = read_rows(GPU_TOPIC, [gpu_message(offset)], None, "event")["gpu"]
    return write_file(rows, "2026-03-01T12", TABLE, TABLE.folder(lake), lambda _: None)


def test_a_position_is_what_the_last_commit_said(tmp_path: Path) -> None:
    ledger = Ledger(TABLE, tmp_path)
    assert ledger.position(A) is None
    ledger.commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)})
    ledger.commit([], {A: at(5), B: None}, {A: at(9), B: at(2)})
    assert (ledger.position(A), ledger.position(B)) == (at(9), at(2))
    again = Ledger(TABLE, tmp_path)
    assert (again.position(A), again.position(B), again.version) == (at(9), at(2), 2)
    assert rows_of(tmp_path, "gpu").num_rows == 8


def test_a_stale_writer_is_refused_and_its_rows_are_not_in_the_table(tmp_path: Path) -> None:
    stale = Ledger(TABLE, tmp_path)
    Ledger(TABLE, tmp_path).commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)})
    with pytest.raises(PositionMovedError, match=r"telemetry.gpu.v1/0: at 5, not at its start"):
        stale.commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)._replace(witness=1)})
    assert places_of(rows_of(tmp_path, "gpu")) == [(0, 4, row) for row in range(8)]


def test_a_stale_writer_that_wanted_the_very_same_is_done(tmp_path: Path) -> None:
    """The commit whose reply was lost: the table says that it has happened."""
    stale = Ledger(TABLE, tmp_path)
    Ledger(TABLE, tmp_path).commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)})
    stale.commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)})
    assert places_of(rows_of(tmp_path, "gpu")) == [(0, 4, row) for row in range(8)]


def test_writers_of_other_partitions_do_not_refuse_each_other(tmp_path: Path) -> None:
    one, other = Ledger(TABLE, tmp_path), Ledger(TABLE, tmp_path)
    for offset in range(5):
        one.commit([], {A: at(offset) if offset else None}, {A: at(offset + 1)})
        other.commit([], {B: at(offset) if offset else None}, {B: at(offset + 1)})
    one.reopen()
    assert (one.position(A), one.position(B), one.version) == (at(5), at(5), 10)


def test_a_commit_that_cannot_be_made_leaves_no_row_and_says_so(tmp_path: Path) -> None:
    ledger = Ledger(TABLE, tmp_path)
    log = tmp_path / "gpu" / "_delta_log"
    (log / "00000000000000000001.json").mkdir()  # nothing can be written under the next entry's name
    with pytest.raises(CommitRefusedError, match="nothing of it is in the table"):
        ledger.commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)})


def test_a_newer_epoch_is_where_a_table_goes_on(tmp_path: Path) -> None:
    ledger = Ledger(TABLE, tmp_path)
    ledger.commit([], {A: None}, {A: at(500)})
    adopted = Position(3, 1, 2, epoch=2)
    ledger._write_entry([], {A: adopted})
    ledger.reopen()
    assert ledger.position(A) == adopted
    assert DeltaTable(str(tmp_path / "gpu")).transaction_version(app_id(A, 1)) == 500


def test_a_checkpoint_opens_to_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.lake.ledger.CHECKPOINT_COMMITS", 2)
    tables = Tables(tmp_path, "event")
    for offset in range(5):
        tables.flush({A: [gpu_message(offset)]}, None)
    assert len(list((tmp_path / "gpu" / ledger_module.LOG).glob("*.checkpoint.parquet"))) == 2
    again = Ledger(TABLE, tmp_path)
    position = again.position(A)
    assert position is not None and position.next == 5
    assert rows_of(tmp_path, "gpu").num_rows == 40
