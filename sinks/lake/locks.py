"""Two kinds of lock on a lake's folder, both given back by the kernel when their process ends.

Every writer holds the lake's lock shared; the check at start-up needs it alone. A slot's lock keeps two
live processes from carrying one static member id, which Kafka does not fence (traps.md 10).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sinks.lake.durable import make_folder


class FolderLock:
    """Hold one lock file; the lock lives as long as this object or the process."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def try_alone(self) -> bool:
        """Take the lock for this process alone; False where anybody else holds it."""
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        """Take the lock, or turn it, into a shared one; False while somebody holds it alone."""
        return self._try(fcntl.LOCK_SH)

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _try(self, mode: int) -> bool:
        try:
            fcntl.flock(self._descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def lake_lock(lake: Path) -> FolderLock:
    """Return the lock that every writer of a lake holds shared."""
    return FolderLock(lake / ".writers.lock")


def slot_lock(lake: Path, slot: int) -> FolderLock:
    """Return the lock of one writer's slot."""
    return FolderLock(lake / f".slot-{slot}.lock")
