"""The ledger: commits that move positions, and what refuses them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from sinks.lake import ledger as ledger_module
from sinks.lake import log_check
from sinks.lake.flush import Tables
from sinks.lake.ledger import CommitRefusedError, Ledger, PositionMovedError, ReplacedError
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


def test_a_replacement_takes_files_out_and_puts_others_in_and_moves_no_position(tmp_path: Path) -> None:
    ledger = Ledger(TABLE, tmp_path)
    ledger.commit([a_file(tmp_path, 4), a_file(tmp_path, 5)], {A: None}, {A: at(6)})
    before, whole = ledger.live(), a_file(tmp_path, 4)
    ledger.replace([path for path in before if path != whole.path], [whole], "compact/2026-03-01T12", {"dropped": 8})
    assert list(ledger.live()) == [whole.path]
    assert (ledger.position(A), ledger.version, ledger.transaction("compact/2026-03-01T12")) == (at(6), 2, 1)
    assert places_of(rows_of(tmp_path, "gpu")) == [(0, 4, row) for row in range(8)]
    assert all((TABLE.folder(tmp_path) / path).exists() for path in before)
    entry = TABLE.folder(tmp_path) / "_delta_log" / f"{2:020d}.json"
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    words = next(action["commitInfo"] for action in actions if "commitInfo" in action)
    assert (words["wattline"], words["dropped"]) == ({"add": 1, "txn": 2, "remove": 2}, 8)
    assert log_check.entry_damage(entry) is None
    entry.write_bytes(b"\n".join(line for line in entry.read_bytes().splitlines() if not line.startswith(b'{"remove"')))
    assert log_check.entry_damage(entry) == f"{entry.name} has 0 of 2 remove actions"


@pytest.mark.parametrize("apps", [("compact/a", "compact/a"), ("compact/a", "retain/b")])
def test_of_two_replacements_of_one_snapshot_the_second_is_refused(tmp_path: Path, apps: tuple[str, str]) -> None:
    """Without the fence both are made, and every row is there twice (traps.md 35)."""
    first = Ledger(TABLE, tmp_path)
    first.commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)})
    second = Ledger(TABLE, tmp_path)
    first.replace(list(first.live()), [a_file(tmp_path, 4)], apps[0])
    stale = list(second.live())
    with pytest.raises(ReplacedError, match="has changed since it was looked at"):
        second.replace(stale, [a_file(tmp_path, 4)], apps[1])
    assert places_of(rows_of(tmp_path, "gpu")) == [(0, 4, row) for row in range(8)]


def test_a_file_that_is_not_live_is_not_removed(tmp_path: Path) -> None:
    ledger = Ledger(TABLE, tmp_path)
    ledger.commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)})
    with pytest.raises(ReplacedError, match=r"hour=x/flush-0.parquet is not in it any more"):
        ledger.replace(["hour=x/flush-0.parquet"], [], "retain/x")


def test_a_replacement_whose_reply_was_lost_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(TABLE, tmp_path)
    ledger.commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)})
    write, calls = Ledger._write_replacement, []

    def lost(self: Ledger, *arguments: object) -> None:
        calls.append(write(self, *arguments))
        raise OSError("the reply was lost")

    monkeypatch.setattr(Ledger, "_write_replacement", lost)
    ledger.replace(list(ledger.live()), [a_file(tmp_path, 4)], "compact/a")
    assert (len(calls), ledger.version, len(ledger.live())) == (1, 2, 1)


def test_an_append_goes_on_beside_a_replacement_in_both_orders(tmp_path: Path) -> None:
    writer, keeper = Ledger(TABLE, tmp_path), Ledger(TABLE, tmp_path)
    writer.commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)})
    keeper.reopen()
    writer.commit([a_file(tmp_path, 5)], {A: at(5)}, {A: at(6)})  # keeper has not seen it
    keeper.replace(list(keeper.live()), [a_file(tmp_path, 4)], "compact/a")
    writer.commit([a_file(tmp_path, 6)], {A: at(6)}, {A: at(7)})  # writer has not seen the replacement
    assert places_of(rows_of(tmp_path, "gpu")) == [(0, offset, row) for offset in (4, 5, 6) for row in range(8)]


def test_a_replacement_that_cannot_be_made_changes_nothing_and_says_so(tmp_path: Path) -> None:
    ledger = Ledger(TABLE, tmp_path)
    ledger.commit([a_file(tmp_path, 4)], {A: None}, {A: at(5)})
    (tmp_path / "gpu" / "_delta_log" / f"{2:020d}.json").mkdir()
    with pytest.raises(CommitRefusedError, match="nothing of it is in the table and nothing is lost"):
        ledger.replace(list(ledger.live()), [a_file(tmp_path, 4)], "compact/a")
