"""The SHA-256 that stands in the name of every file of a lake, and copies that are held against it."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from schemas.errors import DataLossError
from sinks.lake.durable import make_folder, move

_NAME = re.compile(r"(?:flush|hour)-([0-9a-f]{64})-[0-9a-f]{8}\.parquet")
_PIECE_BYTES = 1_048_576

Pace = Callable[[int], None]
"""Called with the bytes just read; whoever reads at a bounded rate sleeps in it."""


class DamagedFileError(DataLossError):
    """Report a file whose bytes are not those that its name promises."""


def sha256_in(name: str) -> str | None:
    """Return the hash that a file's name carries; None for a name that no writer of ours gives."""
    found = _NAME.fullmatch(name)
    return found[1] if found else None


def sha256_of(path: Path, pace: Pace = lambda _: None, copy: Callable[[bytes], object] = lambda _: None) -> str:
    """Return the hash of a file's bytes; `copy` gets each piece as it is read."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as source:
        while piece := source.read(_PIECE_BYTES):
            digest.update(piece)
            copy(piece)
            pace(len(piece))
    return digest.hexdigest()


def require_sound(path: Path, pace: Pace = lambda _: None) -> None:
    """Raise DamagedFileError where the bytes of `path` are not those of its name."""
    _require(path, sha256_of(path, pace))


def copy_checked(source: Path, target: Path) -> None:
    """Copy a file of a lake, durably and under its name only once the bytes are known to be right.

    Raises DamagedFileError where what was read is not what the name promises; no target is there then.
    """
    make_folder(target.parent)
    temporary = target.parent / f".{secrets.token_hex(8)}.copying"
    try:
        with temporary.open("xb") as out:
            _require(source, sha256_of(source, copy=out.write))
            out.flush()
            os.fsync(out.fileno())
        move(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _require(path: Path, found: str) -> None:
    expected = sha256_in(path.name)
    if expected is None:
        raise DamagedFileError(f"{path}: its name carries no hash, so nobody can say whether its bytes are right")
    if found != expected:
        raise DamagedFileError(
            f"{path}: its bytes have SHA-256 {found[:12]}… where its name promises {expected[:12]}…: the disk or "
            "somebody changed them"
        )
