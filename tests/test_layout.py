"""The shape of the house: which room may import which, what the wheel brings, what verbs there are."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT: dict[str, set[str]] = {
    "schemas": set(),
    "broker": {"schemas"},
    "sources": {"schemas", "broker"},
    "streams": {"schemas", "broker"},
    "sinks": {"schemas", "broker"},
    "history": {"schemas", "streams", "sinks"},
    "web": {"schemas", "broker", "history", "sinks"},
    "wattline": {"schemas", "broker", "sources", "streams", "sinks", "history", "web"},
}


def imports_of(path: Path) -> set[str]:
    """Return the top-level names that a module imports, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides which room it reaches into"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_between_the_rooms_run_one_way(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / room).rglob("*.py")
        for name in imports_of(path) & set(MAY_IMPORT)
        if name not in allowed
    }
    assert not wrong


def packages_on_disk() -> set[str]:
    """Return every folder of a room that holds modules, as a dotted name."""
    return {
        ".".join(path.parent.relative_to(ROOT).parts) for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py")
    }


def test_every_package_is_listed_in_pyproject() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert set(listed) == packages_on_disk()


def test_records_and_codecs_know_no_clock_no_network_and_no_chance() -> None:
    """Records, admission and codecs are functions of what they are given."""
    forbidden = {"time", "socket", "asyncio", "aiokafka", "faust", "requests", "aiohttp", "random"}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / "schemas").glob("*.py")
        for name in imports_of(path) & forbidden
    }
    assert not wrong


def copy_of_the_tree(target: Path) -> Path:
    """Copy what git tracks or would track, so that a build leaves nothing behind in the checkout."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
    return target


def test_wheel_brings_the_rooms_and_nothing_else(tmp_path: Path) -> None:
    """Build the wheel, put it alone on the path of another interpreter and import rooms from it."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."],
        cwd=copy_of_the_tree(tmp_path / "tree"),
        check=True,
    )
    wheel = next(tmp_path.glob("wattline-*.whl"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path / "site")]
    subprocess.run([*pip, str(wheel)], check=True)
    top = {path.name for path in (tmp_path / "site").iterdir() if path.suffix != ".dist-info"}
    assert top - {"bin"} == set(MAY_IMPORT)
    listing = subprocess.run(
        [sys.executable, "-c", "import schemas.topics, wattline.cli; print(schemas.__file__)"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert listing.stdout.startswith(str(tmp_path / "site"))


def test_every_verb_has_its_module_and_its_help() -> None:
    from wattline.cli import VERBS

    for verb in VERBS:
        command = importlib.import_module(f"wattline.commands.{verb}").command
        assert command.help, f"wattline {verb} says nothing about itself"


def test_help_of_the_command_line_imports_no_heavy_library() -> None:
    """`wattline --help` must answer at once."""
    code = "import sys, wattline.cli; print(sorted({'polars', 'duckdb', 'faust', 'pyarrow'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
