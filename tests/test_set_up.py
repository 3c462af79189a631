"""Set-up: what it asks for, what it says, what it leaves alone; and the locks that it installs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[1]
SET_UP = REPOSITORY / "scripts" / "set-up.sh"
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall((REPOSITORY / lock).read_text()))


def set_up(folder: Path, *programs: str, python: str | None = None) -> subprocess.CompletedProcess:
    """Run set-up where only the named programs exist."""
    folder.mkdir(exist_ok=True)
    for program in ("sh", "tail", *programs):
        (folder / program).symlink_to(shutil.which(program))
    environ = {"PATH": os.fspath(folder), "HOME": os.fspath(folder), **({"PYTHON": python} if python else {})}
    return subprocess.run([SET_UP], env=environ, capture_output=True, text=True, check=False)


def program(path: Path, script: str) -> str:
    path.write_text(f"#!{shutil.which('sh')}\n{script}\n")
    path.chmod(0o755)
    return os.fspath(path)


def test_each_thing_missing_beforehand_is_one_sentence_with_the_fix(tmp_path):
    old = program(tmp_path / "old-python", '[ "$1" = -V ] && echo Python 3.9.18; exit 1')
    bare = program(tmp_path / "bare-python", 'case "$*" in -V) echo Python 3.12.1;; *ensurepip*) exit 1;; esac')
    told = {
        "git is missing: install it (Debian: `apt-get install git`": set_up(tmp_path / "a", "make"),
        "make is missing": set_up(tmp_path / "b", "git"),
        "Python 3.11, 3.12 or 3.13 is missing (found: none)": set_up(tmp_path / "c", "git", "make"),
        "is missing (found: Python 3.9.18)": set_up(tmp_path / "d", "git", "make", python=old),
        "Python has no venv (found: Python 3.12.1 without venv): Debian: `apt-get install python3-venv`": set_up(
            tmp_path / "e", "git", "make", python=bare
        ),
    }
    for words, said in told.items():
        assert words in said.stderr
        assert (said.returncode, said.stderr.count("\n")) == (78, 1)


def test_what_is_set_up_already_starts_at_once_and_without_a_network():
    nowhere = dict.fromkeys(
        ("HTTPS_PROXY", "HTTP_PROXY", "PIP_INDEX_URL", "WATTLINE_MAVEN_MIRROR"), "http://127.0.0.1:1"
    )
    started = time.monotonic()
    said = subprocess.run([SET_UP, "--dev"], env={**os.environ, **nowhere}, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "requirements-java.lock"])
def test_a_lock_has_hashes_its_size_and_no_address(lock):
    text = (REPOSITORY / lock).read_text()
    assert re.match(r"# fetches about \d+ MB\n", text)
    assert "://" not in text
    for pin in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert "--hash=sha256:" in pin


def test_the_locks_agree_with_each_other_and_with_pyproject():
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert runtime.items() <= dev.items()
    assert pins("requirements-java.lock").items() <= dev.items()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]  # what only `make bench-lake` compares with, 180 MB, is in no lock
    extras = [line for name, lines in optional.items() if name != "bench" for line in lines]
    for lock, lines in ((runtime, project["dependencies"]), (dev, extras)):
        for wanted in map(Requirement, lines):
            assert wanted.specifier.contains(lock[wanted.name]), f"{wanted}: `make lock` was forgotten"
