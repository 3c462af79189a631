"""`wattline sql` as a person and as a script use it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from wattline.commands.sql import command

QUERY = "SELECT 0 AS zero, NULL AS nothing, 1.5::DOUBLE AS half, [1, 2] AS list, TIMESTAMP '2026-03-01 12:00:00' AS t"


def ask(lake: Path, *arguments: str) -> bytes:
    answer = CliRunner().invoke(command, [*arguments, "--lake", str(lake)])
    assert answer.exit_code == 0, answer.output
    return answer.stdout_bytes


def test_table_tells_zero_from_missing(tmp_path: Path) -> None:
    lines = ask(tmp_path, QUERY).decode().splitlines()
    assert lines[0].split() == ["zero", "nothing", "half", "list", "t"]
    assert lines[2].split() == ["0", "—", "1.5", "[1,", "2]", "2026-03-01", "12:00:00"]


def test_csv_json_arrow_and_parquet_carry_the_same_row(tmp_path: Path) -> None:
    (row,) = csv.DictReader(io.StringIO(ask(tmp_path, QUERY, "--format", "csv").decode()))
    assert row == {"zero": "0", "nothing": "", "half": "1.5", "list": "[1, 2]", "t": "2026-03-01T12:00:00Z"}
    (record,) = json.loads(ask(tmp_path, QUERY, "--format", "json"))
    assert record == {"zero": 0, "nothing": None, "half": 1.5, "list": [1, 2], "t": "2026-03-01T12:00:00Z"}
    arrow = pa.ipc.open_stream(ask(tmp_path, QUERY, "--format", "arrow")).read_all()
    parquet = pq.read_table(io.BytesIO(ask(tmp_path, QUERY, "--format", "parquet")))
    assert arrow.to_pylist() == parquet.to_pylist()
    assert arrow["list"].to_pylist() == [[1, 2]]


def test_output_names_the_file_to_write(tmp_path: Path) -> None:
    ask(tmp_path, QUERY, "--format", "parquet", "--output", str(tmp_path / "out.parquet"))
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 1


@pytest.mark.parametrize("code", ["\x1b", "\x07", "\x85", "\u202e"])
def test_a_name_in_the_data_cannot_move_the_cursor(tmp_path: Path, code: str) -> None:
    assert code not in ask(tmp_path, f"SELECT 'a{code}[31m' AS name").decode()


def test_a_query_with_a_wrong_name_lists_the_views_and_exits_with_2(tmp_path: Path) -> None:
    answer = CliRunner().invoke(command, ["SELECT * FROM gpus", "--lake", str(tmp_path)])
    assert answer.exit_code == 2
    assert "gpus does not exist" in answer.stderr
    assert "power, progress" in answer.stderr


def test_no_rows_are_an_empty_answer_and_not_an_error(tmp_path: Path) -> None:
    assert ask(tmp_path, "SELECT time, power_watts FROM power", "--format", "csv") == b"time,power_watts\n"
    assert json.loads(ask(tmp_path, "SELECT time FROM power", "--format", "json")) == []
