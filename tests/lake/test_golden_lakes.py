"""Lakes of every version are read and gone on with by today's code; columns come, and a newer lake is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.transaction import CommitProperties, PostCommitHookProperties

from schemas.errors import ConfigurationError
from sinks.lake import flush, ledger
from sinks.lake.flush import Tables
from sinks.lake.formats import marks
from sinks.lake.ledger import Ledger
from sinks.lake.log_check import check_log
from sinks.lake.parquet import write_file
from sinks.lake.positions import Position, Source
from sinks.lake.rows import read_rows
from sinks.lake.status import read_status
from sinks.lake.tables import BY_NAME, TABLES
from sinks.sql import connection as sql
from tests.conftest import REPOSITORY
from tests.lake.readings import GPU_TOPIC, START, gpu_message, json_message, rows_of

GOLDEN = sorted((REPOSITORY / "tests" / "golden").glob("lake-v*"))
PROGRESS = BY_NAME["progress"]
WIDER = replace(PROGRESS, columns=(*PROGRESS.columns, pa.field("cost_riyals", pa.float64())))


def maker() -> ModuleType:
    """Return the script that made the newest golden lake."""
    spec = importlib.util.spec_from_file_location("make_golden_lake", REPOSITORY / "scripts" / "make-golden-lake.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=GOLDEN, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return shutil.copytree(request.param, tmp_path / "lake")


def test_a_lake_of_any_version_answers_as_it_did_when_it_was_made(golden: Path) -> None:
    said = json.loads((golden / "answers.json").read_text())
    with sql.connect(golden) as connection:
        found = {question: [repr(row) for row in connection.execute(question).fetchall()] for question in said}
    assert found == said


def test_the_writer_goes_on_with_a_lake_of_any_version(golden: Path) -> None:
    assert [check_log(table.folder(golden)) for table in TABLES] == [[]] * len(TABLES)
    before = rows_of(golden, "gpu").num_rows
    source = Source(GPU_TOPIC, 0)
    tables = Tables(golden, "event")
    position = tables.positions(source)["gpu"]
    assert position is not None
    tables.flush({source: [gpu_message(position.next - 1), gpu_message(position.next, time=START)]}, None)
    assert rows_of(golden, "gpu").num_rows == before + 8


def test_the_script_still_makes_the_newest_golden_lake(tmp_path: Path) -> None:
    """What this version writes is what is kept; fails where a change of the format has no golden lake of its own."""
    made, newest = tmp_path / "lake", GOLDEN[-1]
    maker().main(made)
    assert json.loads((made / "answers.json").read_text()) == json.loads((newest / "answers.json").read_text())
    for name in (table.name for table in TABLES if table.folder(newest).is_dir()):  # a new table is no other format
        assert rows_of(made, name).schema == rows_of(newest, name).schema, name
    assert sum(path.stat().st_size for path in newest.rglob("*") if path.is_file()) < 200_000


def know_the_new_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SQL be of the version that knows the column."""
    monkeypatch.setattr(sql, "TABLES", tuple(WIDER if table is PROGRESS else table for table in TABLES))
    monkeypatch.setitem(BY_NAME, "progress", WIDER)


def progress_of(number: int, table: ledger.Table, lake: Path) -> ledger.ParquetFile:
    """Return a file of one row as a writer that knows `table` makes it."""
    value = json.dumps({"time": "2026-03-01T12:00:00Z", "job": "a", "steps": number}).encode()
    rows = read_rows("telemetry.progress.v1", [json_message("telemetry.progress.v1", number, value)], None, "event")
    whole = rows["progress"]
    for field in table.columns[len(PROGRESS.columns) :]:
        whole = whole.append_column(field, pa.array([2.5], field.type))
    return write_file(whole, "2026-03-01T12", table, table.folder(lake), lambda _: None)


def at(offset: int) -> Position | None:
    return Position(offset, offset, offset) if offset else None


def test_a_writer_of_the_old_columns_goes_on_beside_one_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("telemetry.progress.v1", 0)
    old = Ledger(PROGRESS, tmp_path)
    old.commit([progress_of(0, PROGRESS, tmp_path)], {source: None}, {source: at(1)})  # type: ignore[dict-item]
    new = Ledger(WIDER, tmp_path)
    for number in range(1, 5):
        one, table = (old, PROGRESS) if number % 2 else (new, WIDER)
        one.reopen()
        one.commit([progress_of(number, table, tmp_path)], {source: at(number)}, {source: at(number + 1)})  # type: ignore[dict-item]
    assert check_log(tmp_path / "progress") == []
    rows = pa.table(DeltaTable(str(tmp_path / "progress")).to_pyarrow_table()).sort_by("steps")
    assert rows.column("steps").to_pylist() == [0, 1, 2, 3, 4]
    assert rows.column("cost_riyals").to_pylist() == [None, None, 2.5, None, 2.5]
    know_the_new_column(monkeypatch)
    with sql.connect(tmp_path) as connection:
        told = connection.execute("SELECT steps, cost_riyals FROM raw.progress ORDER BY steps").fetchall()
    assert told == [(0, None), (1, None), (2, 2.5), (3, None), (4, 2.5)]


def test_a_commit_from_before_the_column_came_is_made_all_the_same(tmp_path: Path) -> None:
    source = Source("telemetry.progress.v1", 0)
    old = Ledger(PROGRESS, tmp_path)
    Ledger(WIDER, tmp_path)
    old.commit([progress_of(0, PROGRESS, tmp_path)], {source: None}, {source: at(1)})  # type: ignore[dict-item]
    assert rows_of(tmp_path, "progress").num_rows == 1


def test_questions_about_a_new_column_find_null_where_every_file_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("telemetry.progress.v1", 0)
    Ledger(PROGRESS, tmp_path).commit([progress_of(0, PROGRESS, tmp_path)], {source: None}, {source: at(1)})  # type: ignore[dict-item]
    know_the_new_column(monkeypatch)
    with sql.connect(tmp_path) as connection:
        assert connection.execute("SELECT steps, cost_riyals FROM raw.progress").fetchall() == [(0, None)]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (pa.field("steps", pa.string()), r"column steps is .*long.* in the table and .*string.* in this Wattline"),
        (pa.field("must", pa.int32(), nullable=False), "column must is not in the table, and its old rows cannot be"),
    ],
)
def test_a_column_that_cannot_come_is_refused(tmp_path: Path, field: pa.Field, said: str) -> None:
    Ledger(PROGRESS, tmp_path)
    kept = tuple(column for column in PROGRESS.columns if column.name != field.name)
    with pytest.raises(ConfigurationError, match=said):
        Ledger(replace(PROGRESS, columns=(*kept, field)), tmp_path)
    assert DeltaTable(str(tmp_path / "progress")).version() == 0


def test_a_lake_that_a_newer_version_made_is_refused_and_left_alone(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.lake.formats._version", lambda: 2_003_001)
    newer = DeltaTable(str(golden / "power"))
    newer.create_write_transaction(
        [],
        "append",
        newer.schema(),
        partition_by=["hour"],
        commit_properties=CommitProperties(app_transactions=marks(2)),
        post_commithook_properties=PostCommitHookProperties(create_checkpoint=False),
    )
    before = DeltaTable(str(golden / "power")).version()
    for ask in (lambda: flush.Tables(golden), lambda: sql.connect(golden), lambda: read_status(golden)):
        with pytest.raises(ConfigurationError, match=r"format 2, which Wattline 2\.3\.1 made, and this .* up to 1"):
            ask()
    assert DeltaTable(str(golden / "power")).version() == before
