"""Tokens: kept as hashes, shown once, gone at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from schemas.errors import ConfigurationError
from wattline.commands.token import command
from web import tokens
from web.tokens import TokenFile


def run(path: Path, *arguments: str) -> str:
    answer = CliRunner().invoke(command, [*arguments, "--tokens", str(path)], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_a_token_is_printed_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tokens"
    token = run(path, "add", "anna", "--role", "view").strip()
    assert token.startswith("wattline_")
    assert len(token) >= len("wattline_") + 43
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    (listed,) = json.loads(run(path, "list", "--format", "json"))
    assert (listed["name"], listed["role"]) == ("anna", "view")
    found = tokens.matching(tokens.read(path), token)
    assert found is not None
    assert found.name == "anna"
    assert tokens.matching(tokens.read(path), token + "x") is None


def test_a_name_is_used_once_and_a_removed_token_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token, other = tokens.add(path, "anna", "sql"), tokens.add(path, "omar", "sql")
    with pytest.raises(ConfigurationError, match="remove anna first"):
        tokens.add(path, "anna", "sql")
    file = TokenFile(path)
    assert tokens.matching(file.tokens(), token)
    run(path, "remove", "anna")
    assert tokens.matching(file.tokens(), token) is None
    assert tokens.matching(file.tokens(), other)
    with pytest.raises(ConfigurationError, match="there are: omar"):
        tokens.remove(path, "anna")


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    tokens.add(path, "anna", "sql")
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        tokens.read(path)


@pytest.mark.parametrize("line", ["anna sql", "anna root " + "0" * 64 + " 2026", "an na sql " + "0" * 64 + " 2026"])
def test_a_line_that_is_no_token_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"tokens:2 is no token"):
        tokens.read(path)


@pytest.mark.parametrize("name", ["", "a b", "../x", "x\nroot operate", "-x", "x" * 65])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no name of a token"):
        tokens.add(tmp_path / "tokens", name, "sql")
