"""The check, case by case: tests/golden/check/<case>/{facility.toml, expected.txt}; a new case is a new folder.

A case with a rules.toml is checked with `--rules`. expected.txt is what `wattline check --strict` prints in that
folder, and its exit code.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from schemas.check import check
from wattline.commands.check import command
from wattline.scales import FIRST, SCALES, facility_file

CASES = Path(__file__).resolve().parents[1] / "golden" / "check"


def run(*options: str) -> Result:
    """Run the verb in this folder."""
    return CliRunner().invoke(command, options)


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_what_the_check_says(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES / case)
    rules = ["--rules", "rules.toml"] if Path("rules.toml").exists() else []
    result = run("facility.toml", "--strict", *rules)
    assert f"{result.output}exit {result.exit_code}\n" == Path("expected.txt").read_text()


@pytest.mark.parametrize("file", [FIRST, *map(facility_file, SCALES)], ids=lambda file: file.stem)
def test_what_comes_with_wattline_is_beyond_doubt(file: Path) -> None:
    assert check(file).findings == ()


def test_warnings_alone_fail_only_a_strict_check() -> None:
    file = str(CASES / "oversubscribed" / "facility.toml")
    assert (run(file).exit_code, run(file, "--strict").exit_code) == (0, 1)


def test_findings_as_json_carry_code_file_and_place() -> None:
    file = str(CASES / "twins" / "facility.toml")
    first = json.loads(run(file, "--format", "json").output)[0]
    assert first == {
        "level": "warning",
        "code": "fails-with-twin",
        "file": file,
        "where": "ruh/h1/r01-a",
        "message": "fails when its twin does: at nameplate it would carry 336 kW alone, over its rating of 273.1 kW",
    }


def test_a_file_that_is_not_there_is_bad_configuration() -> None:
    result = run("/nowhere/facility.toml")
    assert result.exit_code == 78
    assert "No such file or directory" in result.output
