"""A lock on a file, held by a program and the children that inherit it, and given back when the last of them ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def hold(path: Path) -> int | None:
    """Return an open file that holds the lock until it is closed, None where another program holds it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def is_held(path: Path) -> bool:
    """Tell whether any program holds the lock; a missing file is not held."""
    if not path.exists():
        return False
    file = hold(path)
    if file is not None:
        os.close(file)
    return file is None
