"""Install locked packages into one Python: wheels with listed hashes only, but for what has no wheel on this machine.

`install_packages.py PYTHON LOCK…`; set_up.py and the Dockerfile use it. Standard library only.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# faust-streaming has wheels for Linux on x86_64 and for macOS only. Its source is the same in pure Python when it is
# built without Cython, which takes no compiler.
WITHOUT_WHEEL = ("faust-streaming",)
# Settings of the user's shell that would send packages elsewhere; indexes, proxies and caches are left alone.
STRAY = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_HASHES")


def install(python: str | os.PathLike, locks: Sequence[Path]) -> int:
    """Install every package of the locks and return pip's exit code."""
    for lock in locks:
        wheels, sources = _parts(lock.read_text())
        # A lock is complete, so --no-deps loses nothing and lets the parts come one after the other.
        code = _pip(python, wheels, "--only-binary", ":all:")
        if not code and sources:
            code = _pip(python, sources, "--no-binary", ",".join(WITHOUT_WHEEL), "--no-build-isolation")
        if code:
            return code
    return 0


def environment() -> dict[str, str]:
    """Return the environment for pip: the user's without what would send packages elsewhere."""
    return {**{name: value for name, value in os.environ.items() if name not in STRAY}, "NO_CYTHON": "1"}


def _parts(lock: str) -> tuple[str, str]:
    """Split a lock into what comes as wheels and what is built here."""
    pins = re.split(r"\n(?=[a-z0-9])", lock)
    if platform.system() != "Linux" or platform.machine() == "x86_64":
        return lock, ""
    built = [pin for pin in pins if pin.startswith(tuple(f"{name}==" for name in WITHOUT_WHEEL))]
    return "\n".join(pin for pin in pins if pin not in built), "\n".join(built)


def _pip(python: str | os.PathLike, requirements: str, *options: str) -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".lock") as file:
        file.write(requirements)
        file.flush()
        command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        return subprocess.call([*command, *options, "-r", file.name], env=environment())


if __name__ == "__main__":
    sys.exit(install(sys.argv[1], [Path(lock) for lock in sys.argv[2:]]))
