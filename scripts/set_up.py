"""Set this checkout up: virtual environment, locked dependencies, Kafka's jars, a Java where there is none.

Run by scripts/set-up.sh with the user's Python; standard library only. What is there already is checked
without a network; what was left half by an interrupted set-up is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "wattline-set-up"
UNFINISHED = ENVIRONMENT / "wattline-unfinished"

sys.path.insert(0, str(ROOT))
from install_packages import environment, install  # noqa: E402

from broker import jars, java  # noqa: E402  (both need the standard library only)
from schemas.errors import SetupError, WattlineError  # noqa: E402


def main(arguments: list[str]) -> None:
    """Bring everything that is missing, after saying how much it is."""
    started = time.monotonic()
    with _alone():
        locks = _locks("--dev" in arguments)
        is_linked = ENVIRONMENT.is_symlink()
        stamp = _stamp(locks)
        is_current = is_linked or (_is_whole() and STAMP.read_text().startswith(stamp))
        jars_megabytes = sum(jar.size_bytes for jar in jars.needed()) / 1e6
        if is_current and not jars_megabytes:
            return
        _say(_announcement([] if is_current else locks, jars_megabytes))
        if not is_current:
            _install(locks, stamp)
        if jars_megabytes:
            _run(PYTHON, "-m", "broker.jars")
        _say("running Kafka once to keep its classes as loaded, which halves each later start")
        _run(PYTHON, "-m", "broker.classes")
        _say(f"ready after {time.monotonic() - started:.0f} s")


def _locks(with_dev: bool) -> list[Path]:
    """Return the locks to install: a superset that was installed before counts, so a demo does not undo tests'."""
    locks = [ROOT / ("requirements-dev.lock" if with_dev or _had_dev() else "requirements.lock")]
    return [*locks, ROOT / "requirements-java.lock"] if _needs_java_wheel() else locks


def _needs_java_wheel() -> bool:
    if os.environ.get("WATTLINE_JAVA") == java.WHEEL:
        return True
    try:
        return java.WHEEL in java.find().found_in  # one in the user's own Python is not in ours
    except SetupError:
        return True


def _had_dev() -> bool:
    return STAMP.is_file() and "requirements-dev.lock" in STAMP.read_text()


def _stamp(locks: list[Path]) -> str:
    """Return what an environment that fits was made from: locks, our own metadata, this Python, this place."""
    digest = hashlib.sha256(f"{_python_version()} {ROOT}".encode())
    for path in (*locks, ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return f"{' '.join(lock.name for lock in locks)} {digest.hexdigest()}\n"


def _python_version() -> str:
    """Return the version of the environment's Python; this one's where PYTHON asks for it or there is none."""
    made_with = re.search(r"^version *= *(.+)$", _made_in(), re.MULTILINE)
    return made_with.group(1) if made_with and not os.environ.get("PYTHON") else sys.version.split()[0]


def _is_whole() -> bool:
    return STAMP.is_file() and not UNFINISHED.exists() and PYTHON.exists()


def _announcement(locks: list[Path], jars_megabytes: float) -> str:
    parts = [f"{_megabytes(lock)} MB of packages ({lock.name})" for lock in locks]
    if jars_megabytes:
        parts.append(f"{jars_megabytes:.0f} MB of Kafka's jars into {jars.folder()}")
    return f"fetches up to {' and '.join(parts)}; packages go into {ENVIRONMENT}"


def _megabytes(lock: Path) -> str:
    return lock.read_text().split("\n", 1)[0].split()[-2]


def _install(locks: list[Path], stamp: str) -> None:
    is_usable = _is_whole() and str(ROOT) in _made_in() and f"= {_python_version()}" in _made_in()
    if not is_usable:
        _say(f"making {ENVIRONMENT} with Python {sys.version.split()[0]}")
        _run(Path(sys.executable), "-m", "venv", "--clear", ENVIRONMENT)
    UNFINISHED.touch()
    STAMP.unlink(missing_ok=True)
    if code := install(PYTHON, locks):
        raise _stopped("pip", code)
    editable = ("--no-deps", "--no-build-isolation", "--no-index", "--editable", ROOT)
    _run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *editable)
    STAMP.write_text(stamp)
    UNFINISHED.unlink()


def _made_in() -> str:
    """Return what the environment says of its Python and its place: its scripts do not survive a move."""
    told = (ENVIRONMENT / "pyvenv.cfg", ENVIRONMENT / "bin" / "activate")
    return "".join(path.read_text() for path in told if path.is_file())


def _run(*command: str | os.PathLike) -> None:
    if code := subprocess.call([os.fspath(word) for word in command], env=environment(), cwd=ROOT):
        raise _stopped(" ".join(map(str, command)), code)


def _stopped(command: str, code: int) -> SetupError:
    return SetupError(f"`{command}` ended with code {code} (see above); type the same command again to go on")


@contextmanager
def _alone() -> Iterator[None]:
    """Let one set-up of this checkout work at a time."""
    folder = ROOT / ".setup"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"{ROOT} cannot be written to ({error.strerror}): set-up puts .venv there; clone into a folder of your own"
        ) from error
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _say("waiting for another set-up of this checkout")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    print(f"set-up: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except WattlineError as problem:
        _say(str(problem))
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        _say("stopped; type the same command again to go on")
        sys.exit(130)
