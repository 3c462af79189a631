"""`wattline lake compact`: what is due, one hour by hand, and what would be."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sinks.lake.ledger import Ledger
from sinks.lake.tables import BY_NAME
from sinks.upkeep import closed
from tests.upkeep.compacting import HOUR, by_place, gpu_lake, rows_in, standing_rows
from wattline.commands.lake.compact import command


def run(lake: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, ["--lake", str(lake), *options])
    return result.exit_code, result.output


def test_what_is_due_is_compacted_and_a_dry_run_only_says_it(tmp_path: Path) -> None:
    gpu_lake(tmp_path, flushes=3)
    expected = standing_rows(rows_in(tmp_path, "gpu"), "gpu")
    code, said = run(tmp_path, "--dry-run")
    assert (code, said) == (0, f"gpu {HOUR}: 240 rows, 3 files of 0.0 MB\n")
    assert len(Ledger(BY_NAME["gpu"], tmp_path).live()) == 3
    code, said = run(tmp_path)
    assert code == 0 and said.startswith(f"gpu {HOUR}: {len(expected)} rows, 3 files of 0.0 MB are 1 of 0.0 MB")
    assert by_place(rows_in(tmp_path, "gpu")).equals(expected)
    assert run(tmp_path) == (0, "")


def test_an_hour_that_is_named_is_compacted_closed_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_lake(tmp_path, flushes=2)
    monkeypatch.setattr(closed, "IDLE", 1_000_000 * closed.IDLE)
    assert run(tmp_path) == (0, "")
    assert run(tmp_path, "--table", "power", "--hour", HOUR) == (0, "")
    code, said = run(tmp_path, "--table", "gpu", "--hour", HOUR)
    assert code == 0 and said.startswith(f"gpu {HOUR}: ")


def test_what_cannot_be_compacted_is_said_and_is_exit_code_one(tmp_path: Path) -> None:
    gpu_lake(tmp_path, flushes=2)
    ledger = Ledger(BY_NAME["gpu"], tmp_path)
    path = ledger.folder / sorted(ledger.live())[0]
    path.write_bytes(path.read_bytes()[:-10])
    code, said = run(tmp_path)
    assert code == 1
    assert f"gpu {HOUR} stays as it is: {path} cannot be read" in said


def test_a_folder_without_a_lake_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--lake", str(tmp_path)])
    assert "no lake at" in str(result.exception)
