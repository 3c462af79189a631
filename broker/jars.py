"""Kafka's jars: fetched by exact coordinate, refused when their hash differs, checked again before a start.

`python -m broker.jars` fetches what is missing into the user's cache, `--needed` prints the megabytes to fetch.
jgo's own dependency resolution gives wrong versions (traps.md 22), so broker/jars.lock names each jar.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from broker.folders import cache_folder
from schemas.errors import SetupError, UnavailableError

LOCK = Path(__file__).with_name("jars.lock")
TRIES = 3
PARALLEL = 8
NEXT_STEP = "run `make setup` (or `python -m broker.jars`), which fetches what is missing or damaged"


@dataclass(frozen=True)
class Jar:
    """Name one jar by its exact coordinate, with the SHA-256 and size it must have."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        """Return the name of the jar's file in the cache."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinate(self) -> str:
        """Return group:artifact:version."""
        return f"{self.group}:{self.artifact}:{self.version}"


def listed(lock: Path = LOCK) -> tuple[Jar, ...]:
    """Return the jars of the committed list."""
    rows = (line.split() for line in lock.read_text().splitlines() if line and not line.startswith("#"))
    return tuple(Jar(*coordinate.split(":"), sha256, int(size)) for coordinate, sha256, size in rows)


def folder() -> Path:
    """Return the folder of the cached jars."""
    return cache_folder() / "jars"


def verified(at: Path | None = None) -> list[Path]:
    """Return the paths of all jars after hashing each one.

    Raises SetupError for the first that is missing or damaged, with the next step.
    """
    at = at or folder()
    with ThreadPoolExecutor(PARALLEL) as pool:
        complaints = [complaint for complaint in pool.map(lambda jar: _complaint(jar, at), listed()) if complaint]
    if complaints:
        raise SetupError(f"{complaints[0]} ({len(complaints)} of {len(listed())} jars are not as listed): {NEXT_STEP}")
    return [at / jar.file_name for jar in listed()]


def needed(at: Path | None = None) -> list[Jar]:
    """Return the jars that are missing or damaged in the cache."""
    at = at or folder()
    return [jar for jar in listed() if _complaint(jar, at)]


def fetch(
    at: Path | None = None, report: Callable[[str], None] = lambda line: None, wanted: Iterable[Jar] | None = None
) -> int:
    """Fetch what is missing or damaged, in parallel, and return the number of jars fetched.

    Each lands under its name only whole and with the listed hash, so a killed fetch leaves nothing half.
    Raises SetupError where a hash differs, UnavailableError where a jar cannot be had.
    """
    at = at or folder()
    jars = list(wanted) if wanted is not None else needed(at)
    at.mkdir(parents=True, exist_ok=True)
    fetched_bytes, total_bytes = 0, sum(jar.size_bytes for jar in jars)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=at) as scratch, ThreadPoolExecutor(PARALLEL) as pool:
        running = {pool.submit(_fetch_one, jar, Path(scratch), at): jar for jar in jars}
        try:
            for count, future in enumerate(as_completed(running), 1):
                future.result()
                fetched_bytes += running[future].size_bytes
                report(f"{count}/{len(jars)} jars, {fetched_bytes / 1e6:.0f} of {total_bytes / 1e6:.0f} MB")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return len(jars)


def _fetch_one(jar: Jar, scratch: Path, at: Path) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            got = _resolve(jar, scratch / f"{jar.file_name}-{attempt}")
            break
        except Exception as error:
            if attempt == TRIES:
                raise UnavailableError(
                    f"{jar.coordinate} could not be fetched from {_repository() or 'Maven'} in {TRIES} tries "
                    f"({type(error).__name__}: {error}); check the network, HTTPS_PROXY, or set WATTLINE_MAVEN_MIRROR"
                ) from error
    seen = _sha256(got)
    if seen != jar.sha256:
        raise SetupError(
            f"{jar.coordinate} was fetched with SHA-256 {seen}, listed is {jar.sha256}: refused; the repository or "
            f"something on the way changed it, so try another network or mirror (WATTLINE_MAVEN_MIRROR)"
        )
    got.replace(at / jar.file_name)


def _resolve(jar: Jar, repository: Path) -> Path:
    # Imported here: broker.jars is also asked before jgo is installed (`--needed`).
    from jgo.maven import MavenContext

    # A folder of its own a try: jgo writes in place and would take a half-written file for a whole one.
    shutil.rmtree(repository, ignore_errors=True)
    mirror = _repository()
    context = MavenContext(repo_cache=repository, timeout=30, remote_repos={"mirror": mirror} if mirror else None)
    return context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()


def _repository() -> str | None:
    """Return the address of the Maven mirror to use: the environment's, else that of ~/.m2/settings.xml."""
    chosen = os.environ.get("WATTLINE_MAVEN_MIRROR")
    return (chosen or _mirror(Path.home() / ".m2" / "settings.xml") or "").rstrip("/") or None


def _mirror(settings: Path) -> str | None:
    if not settings.is_file():
        return None
    for mirror in ElementTree.parse(settings).getroot().iterfind(".//{*}mirror"):
        mirrored = (mirror.findtext("{*}mirrorOf") or "").split(",")
        if {"*", "central", "external:*"} & {name.strip() for name in mirrored} and "!central" not in mirrored:
            return (mirror.findtext("{*}url") or "").strip() or None
    return None


def _complaint(jar: Jar, at: Path) -> str | None:
    path = at / jar.file_name
    if not path.is_file():
        return f"Kafka's jar {jar.file_name} is missing in {at}"
    size = path.stat().st_size
    if size != jar.size_bytes:
        return f"Kafka's jar {path} is damaged: it has {size:,} bytes, listed are {jar.size_bytes:,}"
    seen = _sha256(path)
    return None if seen == jar.sha256 else f"Kafka's jar {path} is damaged: its SHA-256 is {seen}, listed {jar.sha256}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _main(arguments: list[str]) -> None:
    wanted = needed()
    megabytes = sum(jar.size_bytes for jar in wanted) / 1e6
    if arguments == ["--needed"]:
        print(f"{megabytes:.0f}")
    elif wanted:
        print(f"fetching {len(wanted)} of Kafka's jars, {megabytes:.0f} MB, into {folder()}", file=sys.stderr)
        terminal = sys.stderr.isatty()
        fetch(report=lambda line: print(line, end="\r" if terminal else "\n", file=sys.stderr), wanted=wanted)


if __name__ == "__main__":
    try:
        _main(sys.argv[1:])
    except (SetupError, UnavailableError) as problem:
        sys.exit(f"wattline: {problem}")
