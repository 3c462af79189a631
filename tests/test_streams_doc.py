"""What docs/streams.md says is so: each quoted sentence, each setting, each metric and each command."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from schemas.errors import ConfigurationError, WattlineError
from schemas.rejected import REASONS
from schemas.topics import BY_NAME
from wattline.cli import command as wattline
from web.metrics import METRICS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "streams.md").read_text(encoding="utf-8")
ROOMS = ("streams", "broker", "schemas", "history", "web", "wattline")
HOLE = "\0"
"""Stands in a template for a value."""
QUOTES = sorted(set(re.findall(r"“([^”]+)”", PAGE.partition("| what happens")[2])))
SETTINGS = re.findall(r"^\| `([^`]+)` \| ([\d., ]+)(\S*)[^|]*\| `([^`]+)` \|", PAGE, flags=re.MULTILINE)
UNITS = {"ms": 1e-3, "kB": 1e3, "MB": 1e6}
"""Of those that are not counted as they are: s, B, %, and things."""
OF_SETTINGS = re.compile(
    r"_(SECS|SECONDS|MICROSECONDS|MS|BYTES|MESSAGES?|INTERVALS|PERCENT|STEPS|FETCH|WAITING|PARTIAL|BLOCK|ONCE|MINUTES)$"
    r"|^(MOST|LOOKS)"
)


def templates(path: Path) -> Iterator[str]:
    """Yield the strings of a module but for its docstrings, HOLE where a value is put in."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if id(node) not in docstrings and (text := template(node)):
            yield re.sub(r"%[.\d]*[srd]|\{\}", HOLE, text)


def template(node: ast.AST) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(template(value) or HOLE for value in values)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            sides = template(left), template(right)
            return None if sides == (None, None) else "".join(side or HOLE for side in sides)
    return None


SAID = [text for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) for text in templates(path)]


def pieces(quote: str) -> list[str]:
    """Return the fixed words of a quote."""
    return [piece.replace("\\|", "|") for piece in quote.split("…")]


@pytest.mark.parametrize("quote", QUOTES)
def test_the_program_says_each_sentence_that_is_quoted(quote: str) -> None:
    """A value of the code must be a … of the page, and words of the page must be those of the code."""
    words = pieces(quote)
    assert sum(map(len, words)) >= 8, "says too little to be found"
    said = re.compile(".*".join(map(re.escape, words)), flags=re.DOTALL)
    assert any(said.search(text) for text in SAID)


def value_of(name: str, module: Any) -> Any:
    """Return a constant, an attribute of one (`ROLL_UP.drain_secs`), or a default (`Producer(alarm_after_secs)`)."""
    if default := re.fullmatch(r"(\w+)\((\w+)\)", name):
        return inspect.signature(getattr(module, default[1])).parameters[default[2]].default
    if name.partition(".")[0] == module.__name__.rpartition(".")[2]:
        name = name.partition(".")[2]
    found = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def in_seconds(name: str, value: Any) -> Any:
    """Return a value without the unit that its name carries."""
    if isinstance(value, tuple):
        return tuple(in_seconds(name, each) for each in value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    scale = 1e-6 if "MICROSECONDS" in name else 1e-3 if name.endswith(("_MS", "_ms")) else 1.0
    return pytest.approx(value * scale)


@pytest.mark.parametrize(("name", "default", "unit", "where"), SETTINGS, ids=[each[0] for each in SETTINGS])
def test_each_setting_stands_where_it_says_with_its_default(name: str, default: str, unit: str, where: str) -> None:
    module = importlib.import_module(where.removesuffix(".py").replace("/", "."))
    numbers = default.replace(", ", " ").replace(",", "").split()
    stated = tuple(float(number) * UNITS.get(unit, 1.0) for number in numbers)
    assert in_seconds(name, value_of(name, module)) == (stated if len(stated) > 1 else stated[0])


def test_no_setting_of_the_streams_is_left_out() -> None:
    assert len(SETTINGS) == len(re.findall(r"^\| `", PAGE, flags=re.MULTILINE)), "a row of the table is not read"
    known = {(where, name.rpartition(".")[2]) for name, _, _, where in SETTINGS}
    found = set()
    for path in sorted((ROOT / "streams").glob("*.py")):
        where = f"streams/{path.name}"
        module = importlib.import_module(f"streams.{path.stem}")
        for node in ast.parse(path.read_text()).body:
            name = node.targets[0].id if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) else ""
            if not name.startswith("_") and OF_SETTINGS.search(name) and isinstance(getattr(module, name), int | float):
                found.add((where, name))
    assert found - known == set()


def commands(text: str) -> set[str]:
    return set(re.findall(r"`wattline ([^`]+)`", text))


@pytest.mark.parametrize("line", sorted(commands(PAGE).union(*map(commands, SAID))))
def test_each_command_of_the_page_and_of_a_sentence_can_be_given(line: str) -> None:
    """FILE, FROM and TO stand for what a person puts there."""
    if HOLE in line or "<" in line:
        pytest.skip("a part of it is put in by the program")
    stands = {
        "FILE": str(ROOT / "examples" / "halo-2mw.toml"),
        "FROM": "2026-03-01T12:00Z",
        "TO": "2026-03-01T12:05Z",
        "N": "2",
    }
    name, *arguments = [stands.get(word, word) for word in shlex.split(line)]
    command = wattline.get_command(click.Context(wattline), name)
    while isinstance(command, click.Group) and arguments:
        name, *arguments = arguments
        command = command.get_command(click.Context(command), name)
    assert command is not None, f"wattline {line}: no such verb"
    if isinstance(command, click.Group) or (not arguments and any(each.required for each in command.params)):
        return  # it is named, not given
    try:
        command.make_context(name, arguments)
    except click.exceptions.Exit as ended:  # --help
        assert ended.exit_code == 0


@pytest.mark.real
def test_the_line_that_takes_a_snapshot_away_does(kafka: EmbeddedKafka, new_topic: Callable[..., str]) -> None:
    assert shutil.which("kcat"), "kcat is missing: apt-get install kcat"
    (line,) = re.findall(r"`(echo [^`]+kcat[^`]+)`", PAGE)
    topic = new_topic("state", cleanup="compact")
    line = line.replace("\\|", "|").replace("127.0.0.1:9092", kafka.bootstrap).replace("alerts.state.v1", topic)
    subprocess.run(["bash", "-e", "-c", line], check=True)
    (message,) = asyncio.run(read_to_end(kafka.bootstrap, topic))
    assert (message.key, message.value) == (b"evaluate-0", None)


def test_metrics_topics_reasons_and_exit_codes_exist() -> None:
    assert set(re.findall(r"`(wattline_\w+)`", PAGE)) <= set(METRICS)
    assert set(re.findall(r"\b[a-z]+(?:\.[a-z]+)+\.v1\b", PAGE)) <= set(BY_NAME)
    assert set(re.findall(r"reason `(\w+)`", PAGE)) <= set(REASONS)
    codes = set(re.findall(r"exit code (\d+)", PAGE))
    assert codes <= {"0", str(WattlineError.exit_code), str(ConfigurationError.exit_code)}
