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

from sinks.sql.statement import NotAQuestionError
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


def test_a_column_named_like_a_word_of_sql_says_how_to_write_it(tmp_path: Path) -> None:
    refused = CliRunner().invoke(command, ["SELECT * FROM alerts ORDER BY at", "--lake", str(tmp_path)])
    assert refused.exit_code == 2
    assert "put them in double quotes" in refused.stderr
    assert ask(tmp_path, 'SELECT "at", "limit" FROM alerts ORDER BY "at"', "--format", "csv") == b"at,limit\n"


def test_no_rows_are_an_empty_answer_and_not_an_error(tmp_path: Path) -> None:
    assert ask(tmp_path, "SELECT time, power_watts FROM power", "--format", "csv") == b"time,power_watts\n"
    assert json.loads(ask(tmp_path, "SELECT time FROM power", "--format", "json")) == []


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("COPY (SELECT 1) TO '{0}'", "COPY"),
        ("WITH x AS (COPY racks TO '{0}') SELECT 1", "COPY"),
        ("EXPLAIN ANALYZE COPY racks TO '{0}'", "COPY"),
        ("DROP VIEW gpu", "DROP"),
        ("ATTACH '{0}'", "ATTACH"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("/* nothing */", "no statement"),
    ],
)
def test_what_does_not_ask_is_not_answered(tmp_path: Path, query: str, word: str) -> None:
    file = tmp_path / "written"
    refused = CliRunner().invoke(command, [query.format(file), "--lake", str(tmp_path)])
    assert isinstance(refused.exception, NotAQuestionError)
    assert refused.exception.exit_code == 2
    assert word in str(refused.exception)
    assert not file.exists()


def test_the_word_copy_may_stand_in_texts_and_comments(tmp_path: Path) -> None:
    assert json.loads(ask(tmp_path, "SELECT 'é copy' AS \"copy\" -- copy", "--format", "json")) == [{"copy": "é copy"}]


def test_sums_of_integers_are_integers_of_any_size(tmp_path: Path) -> None:
    query = "SELECT sum(x) AS total, sum(y) AS part FROM (VALUES (9007199254740993, 0.5), (0, 0.25)) t(x, y)"
    assert json.loads(ask(tmp_path, query, "--format", "json")) == [{"total": 9007199254740993, "part": 0.75}]


def test_a_pivot_is_a_question(tmp_path: Path) -> None:
    assert ask(tmp_path, "PIVOT (VALUES ('a', 1)) t(k, v) ON k USING sum(v)", "--format", "csv") == b"a\n1\n"


def test_a_file_appears_only_when_the_answer_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "answer.csv"
    failing = "SELECT CASE WHEN range > 50000 THEN error('late') ELSE range END AS n FROM range(100000)"
    answer = CliRunner().invoke(command, [failing, "--lake", str(tmp_path), "--format", "csv", "--output", str(output)])
    assert answer.exit_code == 2
    assert "late" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    output = tmp_path / "missing" / "answer.csv"
    answer = CliRunner().invoke(command, ["SELECT 1", "--lake", str(tmp_path), "--output", str(output)])
    assert "missing/answer.csv cannot be written: No such file or directory" in str(answer.exception)


def test_a_time_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    answer = CliRunner().invoke(command, ["SELECT 1", "--lake", str(tmp_path), "--since", "yesterday"])
    assert answer.exit_code == 2
    assert "'yesterday' does not match" in answer.stderr
