"""The folder of one demo: its own, bounded, and gone afterwards unless it is to be kept."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "wattline-demo-"
LARGEST_BYTES = 2_000_000_000
STOP_AT_FRACTION = 0.9
"""A demo ends itself here: what is still in buffers must fit below the largest size, too."""

_LOCK = "in-use.lock"
_KEEP = "kept"


class DemoFolder:
    """Hold a new folder for as long as the `with` block lasts; the block's end removes it unless `keep`.

    A demo that was killed could not tidy up: the next one removes the folders that nobody holds.
    """

    def __init__(self, *, keep: bool, parent: Path | None = None) -> None:
        self._parent = parent or Path(tempfile.gettempdir())
        self._keep = keep

    def __enter__(self) -> DemoFolder:
        for left in abandoned(self._parent):
            shutil.rmtree(left, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if self._keep:
            (self.path / _KEEP).touch()
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._keep:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    @property
    def bytes_used(self) -> int:
        """Return the size of all files below."""
        return sum(size for size in _sizes(self.path))

    @property
    def is_full(self) -> bool:
        """Tell whether the demo has to end for want of space."""
        return self.bytes_used > LARGEST_BYTES * STOP_AT_FRACTION


def _sizes(folder: Path) -> Iterator[int]:
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                yield (Path(path) / name).stat().st_size
            except FileNotFoundError:  # Kafka and the lake remove files while we walk
                continue


def abandoned(parent: Path) -> list[Path]:
    """Return the folders of demos that nobody runs any more and nobody wanted to keep."""
    return [path for path in parent.glob(f"{PREFIX}*") if path.is_dir() and not (path / _KEEP).exists() and _free(path)]


def _free(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # being made just now, or not one of ours
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
