"""The check, case by case: tests/golden/check/<case>/{facility.toml, expected.txt}; a new case is a new folder.

A case with a rules.toml is checked with `--rules`. expected.txt is what `wattline check --strict` prints in that
folder, and its exit code.
"""

from __future__ import annotations

import json
import tomllib
from copy import deepcopy
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

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
        "message": "fails when its twin does: alone it would carry, at nameplate, 336 kW, over its rating of 273.1 kW",
    }


def test_a_file_that_is_not_there_is_bad_configuration() -> None:
    result = run("/nowhere/facility.toml")
    assert result.exit_code == 78
    assert "No such file or directory" in result.output


def as_toml(value: object) -> str:
    """Write a value of a parsed TOML file as TOML again, with inline tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {as_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else str(value)


def places_in(value: object, above: tuple = ()) -> list[tuple]:
    """Return the way to every value in nested tables and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in [(*above, key), *places_in(item, (*above, key))]]


FIRST_TABLES = tomllib.loads(FIRST.read_text())
PLACES = places_in(FIRST_TABLES)
junk = st.one_of(
    st.sampled_from(["", "north", "north/h1", "a b", "../x", "b", {}, [], {"id": "x"}, True, "DELETE"]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=40),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), junk), min_size=1, max_size=3))
def test_no_file_however_wrong_escapes_the_check(tmp_path_factory: pytest.TempPathFactory, changes: list) -> None:
    tables = deepcopy(FIRST_TABLES)
    for place, value in changes:
        holder = tables
        try:
            for key in place[:-1]:
                holder = holder[key]
            if value == "DELETE":
                del holder[place[-1]]
            else:
                holder[place[-1]] = value
        except (LookupError, TypeError):
            continue
    file = tmp_path_factory.mktemp("wrong") / "facility.toml"
    file.write_text("\n".join(f"{json.dumps(key)} = {as_toml(value)}" for key, value in tables.items()))
    checked = check(file)
    assert bool(checked.errors) == (checked.registry is None)
