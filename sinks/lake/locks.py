"""Who may write to a lake's folder: its name towards Kafka, and two kinds of lock.

Every writer holds the lake's lock shared; the check at start-up needs it alone. A slot's lock keeps two
live processes from carrying one static member id, which Kafka does not fence (traps.md 10). The kernel
gives both back when their process ends.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path

from sinks.lake.durable import make_folder, sync_file, sync_folder


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

    def holders(self) -> list[str]:
        """Say who holds the lock, `pid 4711 (wattline worker lake --slot 0)`, as far as the kernel tells."""
        inode = os.fstat(self._descriptor).st_ino
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines() if " FLOCK " in line]
        pids = {int(words[4]) for words in locks if words[1] != "->" and words[5].endswith(f":{inode}")}
        return [f"pid {pid} ({_command_of(pid)})" for pid in sorted(pids - {os.getpid()}) if pid > 0]

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


def upkeep_lock(lake: Path) -> FolderLock:
    """Return the lock that is held alone by who changes what writers wrote: a duty of upkeep, or a person's verb."""
    return FolderLock(lake / ".upkeep.lock")


def upkeep_place(lake: Path) -> FolderLock:
    """Return the lock of the one process that does the duties of a lake; it is taken for as long as that lives."""
    return FolderLock(lake / ".upkeep-process.lock")


def slot_lock(lake: Path, slot: int) -> FolderLock:
    """Return the lock of one writer's slot."""
    return FolderLock(lake / f".slot-{slot}.lock")


def _command_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "of another user, or gone"
    return " ".join(word.decode(errors="replace") for word in words if word)


def group_of(lake: Path) -> str:
    """Return the consumer group of a lake's writers, `lake-<eight digits>`, chosen once and kept in its folder.

    Two lakes may read one Kafka: in one group each would see half of the partitions.
    """
    path = lake / ".group"
    if not path.exists():
        make_folder(lake)
        chosen = lake / f".group-{secrets.token_hex(4)}"
        chosen.write_text(f"lake-{secrets.token_hex(4)}")
        sync_file(chosen)
        with suppress(FileExistsError):  # two writers that start at once agree on the first one's
            path.hardlink_to(chosen)
        chosen.unlink()
        sync_folder(lake)
    return path.read_text()
