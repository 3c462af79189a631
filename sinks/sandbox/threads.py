"""How many threads this process has: a fork and a cage are of one alone."""

from __future__ import annotations

from pathlib import Path


def threads() -> int:
    """Return how many threads this process has."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())
