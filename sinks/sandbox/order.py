"""What is asked of a cage, and the frames in which it answers."""

from __future__ import annotations

import os
import struct
from typing import Literal

import msgspec

from sinks.sandbox.limits import Limits

Format = Literal["json", "csv", "arrow", "parquet"]
FORMATS: tuple[Format, ...] = ("json", "csv", "arrow", "parquet")


class Order(msgspec.Struct, frozen=True):
    """Say what to ask and where: `lake` and `catalog` are read, `spill` is the cage's own folder.

    `snapshot` goes into the answer as it is. With `is_checked` False the statement check is left out: it makes
    mistakes clear, and the cage must hold without it. A probe asks nothing and tries the cage.
    """

    query: str
    form: Format
    lake: str
    catalog: str
    spill: str
    limits: Limits
    snapshot: dict[str, str] = {}
    is_checked: bool = True
    is_probe: bool = False


Outcome = Literal["answered", "refused", "out_of_memory", "failed"]


class Ended(msgspec.Struct, frozen=True):
    """Say how a query ended; `message` is for people, the rest is of the answer."""

    outcome: Outcome
    message: str = ""
    rows: int = 0
    truncated: bool = False
    elapsed_seconds: float = 0.0


_HEAD = struct.Struct("<cI")
PART, END = b"P", b"E"
MOST_IN_A_FRAME = 1 << 20


def frame(kind: bytes, value: bytes) -> bytes:
    """Return one frame: its kind, its length, its bytes."""
    return _HEAD.pack(kind, len(value)) + value


class Frames:
    """Cut bytes into frames as they come; pure."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def take(self, received: bytes) -> list[tuple[bytes, bytes]]:
        """Return the frames that `received` completes.

        Raises ValueError for what no cage of ours writes.
        """
        self._pending += received
        whole = []
        while len(self._pending) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._pending)
            if kind not in (PART, END) or length > MOST_IN_A_FRAME:
                raise ValueError(f"a frame of kind {kind!r} and {length} bytes")
            if len(self._pending) < _HEAD.size + length:
                break
            whole.append((kind, bytes(self._pending[_HEAD.size : _HEAD.size + length])))
            del self._pending[: _HEAD.size + length]
        return whole


def written(order: Order) -> int:
    """Return a descriptor of memory that holds the order."""
    descriptor = os.memfd_create("order")
    with os.fdopen(os.dup(descriptor), "wb") as out:
        out.write(msgspec.json.encode(order))
    return descriptor


def read(descriptor: int) -> Order:
    """Return the order that a descriptor holds."""
    return msgspec.json.decode(os.pread(descriptor, os.fstat(descriptor).st_size, 0), type=Order)
