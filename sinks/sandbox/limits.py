"""How much of the machine one query may take: said once, held by the kernel and watched from outside."""

from __future__ import annotations

import os
import resource

import msgspec

MEGABYTE = 1 << 20
_FILES_MAPPED = 96 * MEGABYTE
"""Of a query's memory what is not its own: libraries that it shares with all others, mapped from disk."""
_ADDRESSES_RESERVED = 2048 * MEGABYTE
"""Addresses that allocators and stacks reserve and never touch."""
_MOST_OF_NOBODY = 512


class Limits(msgspec.Struct, frozen=True):
    """Bound one query.

    `memory_bytes` is resident memory, libraries included; `rows` and `answer_bytes` are what an answer is cut at.
    """

    wall_secs: float = 30.0
    memory_bytes: int = 1024 * MEGABYTE
    spill_bytes: int = 2048 * MEGABYTE
    rows: int = 1_000_000
    answer_bytes: int = 64 * MEGABYTE
    threads: int = 2
    open_files: int = 4096

    @property
    def duckdb_bytes(self) -> int:
        """Return what DuckDB may plan with: it takes more than it says (traps.md 29)."""
        return self.memory_bytes * 6 // 10


def restrict(limits: Limits, *, is_nobody: bool) -> None:
    """Set the limits of this process for good."""
    cpu = int(limits.wall_secs * limits.threads) + 2
    _set(resource.RLIMIT_DATA, limits.memory_bytes - _FILES_MAPPED)
    _set(resource.RLIMIT_AS, _addresses() + limits.memory_bytes + _ADDRESSES_RESERVED)
    _set(resource.RLIMIT_CPU, cpu)
    _set(resource.RLIMIT_FSIZE, limits.spill_bytes)
    _set(resource.RLIMIT_NOFILE, limits.open_files)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_MEMLOCK, 0)
    _set(resource.RLIMIT_MSGQUEUE, 0)
    if is_nobody:  # it counts all of a user's: of a user who has others it would be a limit of theirs
        _set(resource.RLIMIT_NPROC, _MOST_OF_NOBODY)


def _set(which: int, bound: int) -> None:
    _, hard = resource.getrlimit(which)
    bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
    resource.setrlimit(which, (bound, bound))


def _addresses() -> int:
    """Return the size of this process's address space in bytes."""
    with open("/proc/self/statm", "rb") as told:  # noqa: PTH123 - no Path: this runs between fork and cage
        return int(told.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
