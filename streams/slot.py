"""The slot: one live process for each static member of a consumer group (traps.md 10).

Two live processes with one static id are not fenced by Kafka: 894 duplicates in 15 s. The lock is the
kernel's, so a killed worker frees its slot at once and the one that stands by has it in the same moment. It is
not the supervisor's lock, which the worker inherits: that one says who starts workers, this one who is a member.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from broker import lock
from broker.supervisor import lock_folder

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Slot(NamedTuple):
    """Hold a place: the open file that holds the lock, and the id of the lock, the same for all that share it."""

    descriptor: int
    lock_id: str


async def hold(member: str, bootstrap: str, say: Callable[[str], None]) -> Slot:
    """Wait until no other process is this member of its group; a second one says once that it stands by."""
    path = lock_folder(bootstrap) / f"{member}.member.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = lock.hold(path)
    if descriptor is None:
        say(f"another process is {member} of {bootstrap}; standing by until it ends ({path})")
        descriptor = os.open(path, os.O_RDWR)
        # In a thread: the loop goes on hearing of new facilities, and the kernel wakes us without a delay.
        await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
    return Slot(descriptor, lock_id(descriptor))


def lock_id(descriptor: int, machine: str | None = None) -> str:
    """Return the id of a lock: machines and containers that share no lock have another one.

    It is made of what the first holder wrote and of the machine, which two that began as copies of one disk differ in.
    """
    written = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
    if not written:
        written = uuid.uuid4().hex
        os.pwrite(descriptor, written.encode(), 0)
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{written} {_machine() if machine is None else machine}").hex


def _machine() -> str:
    """Return the id of this start of the kernel, which containers of one machine share, as they may share a lock."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
