"""The embedded Kafka as a background program of the user's: started, looked at and stopped by separate commands."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from broker.admin import create_topics
from broker.embedded import EmbeddedKafka
from broker.folders import user_folder
from broker.lock import is_held
from schemas.errors import ConfigurationError, UnavailableError

USUAL_PORT = 9092
STOP_WITHIN_SECS = 10.0


@dataclass(frozen=True)
class Running:
    """Tell of a background Kafka: where it listens, its process, its data folder, its log."""

    bootstrap: str
    pid: int
    folder: str
    log_path: str


def usual_folder() -> Path:
    """Return the data folder where none is named."""
    return user_folder() / "kafka"


def running() -> Running | None:
    """Return the background Kafka, or None where none runs, also when one was killed."""
    try:
        found = Running(**json.loads(_state_file().read_text()))
    except (OSError, ValueError, TypeError):
        return None
    # The node holds its folder's lock for as long as it lives; a process id alone may be another program's.
    return found if is_held(Path(found.folder) / "lock") else None


def running_bootstrap() -> str | None:
    """Return the address of the background Kafka, or None."""
    found = running()
    return found.bootstrap if found else None


def start(folder: Path | None = None, port: int | None = USUAL_PORT) -> Running:
    """Start Kafka in the background with all topics, and return when it serves; `port` None = a free one.

    Raises ConfigurationError where one runs already, and what EmbeddedKafka raises.
    """
    if found := running():
        raise ConfigurationError(
            f"Kafka runs already at {found.bootstrap} (pid {found.pid}, log: {found.log_path}): "
            f"`wattline kafka stop` first"
        )
    kafka = EmbeddedKafka(folder or usual_folder(), port)
    kafka.start(detached=True)
    try:
        asyncio.run(create_topics(kafka.bootstrap))
        started = Running(kafka.bootstrap, kafka.nodes[0].pid or 0, str(kafka.folder), str(kafka.log_path))
        _write(started)
    except BaseException:
        kafka.stop()
        raise
    return started


def stop() -> Running:
    """Stop the background Kafka and return what it was; raise UnavailableError where none runs."""
    found = running()
    if found is None:
        raise UnavailableError("no Kafka of `wattline kafka start` runs, so there is nothing to stop")
    for number, within_secs in ((signal.SIGTERM, STOP_WITHIN_SECS), (signal.SIGKILL, STOP_WITHIN_SECS)):
        with suppress(ProcessLookupError):
            os.kill(found.pid, number)
        if _is_free_within(Path(found.folder), within_secs):
            _state_file().unlink(missing_ok=True)
            return found
    raise UnavailableError(f"Kafka (pid {found.pid}) does not end, not even killed (log: {found.log_path})")


def _state_file() -> Path:
    return user_folder() / "kafka.json"


def _write(state: Running) -> None:
    path = _state_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(f".{os.getpid()}")
    whole.write_text(json.dumps(asdict(state)))
    whole.replace(path)


def _is_free_within(folder: Path, secs: float) -> bool:
    deadline = time.monotonic() + secs
    while is_held(folder / "lock"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
