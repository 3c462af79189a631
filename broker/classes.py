"""An archive of Kafka's classes as loaded (Java's class data sharing): a start takes half the time with it.

`python -m broker.classes` makes it in the user's cache, for this Java and these jars; set-up does so once. It is a
saving only: without one, or where this Java cannot make one, Kafka starts all the same. Java itself refuses an
archive of other jars or of another Java.
"""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from broker import jars, java
from broker.folders import cache_folder
from schemas.errors import WattlineError


def archive(runtime: java.Java) -> Path:
    """Return where the archive for this Java and the listed jars lies, if it was made."""
    made_of = f"{runtime.program.resolve()} {runtime.version} {jars.folder()} {jars.LOCK.read_text()}"
    return cache_folder() / f"classes-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.jsa"


def options(runtime: java.Java) -> list[str]:
    """Return the options of a Java that uses the archive, none where there is no archive."""
    found = archive(runtime)
    # Verified against its own checksums: the archive is code too.
    return [f"-XX:SharedArchiveFile={found}", "-XX:+VerifySharedSpaces", "-Xlog:cds=off"] if found.is_file() else []


def make(runtime: java.Java) -> bool:
    """Run Kafka once with all topics and keep what it loaded; False where this Java cannot."""
    from broker.admin import create_topics
    from broker.embedded import EmbeddedKafka

    _dump_javas_own(runtime)
    with tempfile.TemporaryDirectory(prefix=".classes-", dir=cache_folder()) as scratch:
        made = Path(scratch) / "classes.jsa"
        kafka = EmbeddedKafka(Path(scratch) / "kafka", launch_options=(f"-XX:ArchiveClassesAtExit={made}",))
        kafka.start()
        try:
            asyncio.run(create_topics(kafka.bootstrap))
        finally:
            kafka.stop(timeout_secs=60)
        if made.is_file():
            made.replace(archive(runtime))
            return True
    return False


def _dump_javas_own(runtime: java.Java) -> None:
    """Make the archive of Java's own classes, on which ours builds; the wheel comes without."""
    own = runtime.program.resolve().parent.parent / "lib" / "server" / "classes.jsa"
    if not own.exists() and java.WHEEL in runtime.found_in:
        subprocess.run([runtime.program, "-Xshare:dump"], capture_output=True, check=False)


def _main() -> None:
    try:
        runtime = java.find()
        if not archive(runtime).is_file() and not make(runtime):
            print(f"Java {runtime.version} makes no archive of classes; Kafka starts without", file=sys.stderr)
    except WattlineError as problem:
        print(f"no archive of classes was made, Kafka starts without: {problem}", file=sys.stderr)


if __name__ == "__main__":
    _main()
