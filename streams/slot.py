"""The slot: one live process for each static member of a consumer group (traps.md 10).

Two live processes with one static id are not fenced by Kafka: 894 duplicates in 15 s. The lock is the
kernel's, so a killed worker frees its slot at once and the restarted one finds it free.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from pathlib import Path

from broker.folders import cache_folder

LOOK_AGAIN_SECS = 0.1
SAY_AGAIN_SECS = 30.0


def lock_path(app: str, slot: int, bootstrap: str) -> Path:
    """Return the lock file of a slot; two Kafkas on one machine have slots of their own."""
    cluster = hashlib.sha256(bootstrap.encode()).hexdigest()[:12]
    return cache_folder() / "slots" / f"{cluster}-{app}-{slot}.lock"


def hold(app: str, slot: int, bootstrap: str, *, say=print) -> int:
    """Wait until this process is the only holder of the slot; return the descriptor that holds it.

    A second process stands by: it says so once in a while and goes on when the holder ends.
    """
    path = lock_path(app, slot, bootstrap)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    said = -SAY_AGAIN_SECS
    while not _try(descriptor):
        if time.monotonic() - said >= SAY_AGAIN_SECS:
            said = time.monotonic()
            say(f"slot {app}-{slot} is held by process {_holder(path)}; standing by until it ends ({path})")
        time.sleep(LOOK_AGAIN_SECS)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    return path.read_text() or "of another user"
