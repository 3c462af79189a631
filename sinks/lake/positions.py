"""Positions: how far a table has read each partition, and a witness of the last record that it took.

A table keeps three Delta application transactions for each partition: `epoch/topic/partition` = the next
offset, `…#w` = the witness, `…#t` = Kafka's append time of that last record in milliseconds. The epoch
is 1 at first and one more each time the table adopted a log that had been replaced (`wattline lake adopt`):
equal offsets of two epochs are different records, told apart by when they were appended (`…#s`, `epoch_of`).
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from schemas.message import Message

NO_WITNESS = 0
"""The witness of a position before which no record stands: adopted behind a hole or at the start of a log."""


class Source(NamedTuple):
    """Name one partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Position(NamedTuple):
    """Say where a table goes on in a partition: the `next` offset, and what came right before it."""

    next: int
    witness: int
    appended_milliseconds: int
    epoch: int = 1

    def transactions(self, source: Source) -> dict[str, int]:
        """Return the application transactions that keep this position, by app id."""
        app = app_id(source, self.epoch)
        return {app: self.next, f"{app}#w": self.witness, f"{app}#t": self.appended_milliseconds}


def app_id(source: Source, epoch: int) -> str:
    """Return the app id under which a table keeps its position in `source`."""
    return f"{epoch}/{source.topic}/{source.partition}"


def since_id(source: Source, epoch: int) -> str:
    """Return the app id under which a table keeps since when, in milliseconds, rows of an epoch were appended."""
    return f"{app_id(source, epoch)}#s"


def epoch_of(appended_milliseconds: int, since: Sequence[int]) -> int:
    """Return the epoch of a row of a partition by when it was appended; `since` is that of `read_epochs`."""
    return 1 + bisect_right(since, appended_milliseconds)


def witness(offset: int, appended_milliseconds: int, key: bytes | None, value: bytes | None) -> int:
    """Return 63 bits of SHA-256 over one record as it lies in the log."""
    digest = hashlib.sha256(struct.pack(">qq", offset, appended_milliseconds))
    for part in (key, value):
        digest.update(struct.pack(">q", -1 if part is None else len(part)))
        digest.update(part or b"")
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def position_after(message: Message, epoch: int = 1) -> Position:
    """Return the position of a table that has taken everything up to and including `message`."""
    milliseconds = message.appended // 1000
    return Position(
        message.offset + 1, witness(message.offset, milliseconds, message.key, message.value), milliseconds, epoch
    )
