"""The stand-in for a record batch that cannot be read: one message at the batch's last offset that says why.

Kafka compresses whole batches, so what is wrong with one is known before any of its records is. The consumer
puts the stand-in where the batch was (broker.batches): positions move past it, and decoding makes of it one
refusal with the reason.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from schemas.message import Message
from schemas.rejection import WHOLE, Refusal

CONTENT_TYPE = b"application/vnd.wattline.refused-batch"
HEADER = "refused-batch"
MARKERS = "transaction-markers-from"
"""The header, last of a message, that our consumer puts there: offsets from its value on are no messages."""


class RefusedBatch(msgspec.Struct, frozen=True):
    """Say which offsets `[first, last]` are skipped and why; the stand-in itself has the offset `last`."""

    reason: Literal["too_large", "undecodable_batch"]
    first: int
    last: int
    said: str

    def headers(self) -> list[tuple[str, bytes]]:
        """Return the Kafka headers of the stand-in."""
        return [("content-type", CONTENT_TYPE), (HEADER, msgspec.json.encode(self))]


_OFFSET = re.compile(rb"\d{1,19}")
_DECODER = msgspec.json.Decoder(RefusedBatch)


def batch_refusal(message: Message) -> Refusal | None:
    """Return the refusal that a stand-in stands for, None of any other message."""
    if message.header("content-type") != CONTENT_TYPE:
        return None
    try:
        batch = _DECODER.decode(message.header(HEADER) or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        said = "claims to stand for a record batch that cannot be read, and was made by nobody of ours"
        return Refusal(message, WHOLE, "unknown_format", said)
    said = f"the record batch of offsets {batch.first} to {batch.last} {batch.said}; its records are skipped"
    return Refusal(message, WHOLE, batch.reason, said, value=f"offsets {batch.first} to {batch.last}")


def markers_header(first: int) -> tuple[str, bytes]:
    """Return the header of a message right behind markers of transactions, the first of them at the offset `first`."""
    return (MARKERS, b"%d" % first)


def first_offset(offset: int, headers: tuple[tuple[str, bytes], ...]) -> int:
    """Return the first offset that a message covers: its own, that of the batch that it stands for, or of markers.

    Whoever looks for holes in a log compares this, not the offset, with the position it expects.
    """
    if headers and headers[-1][0] == MARKERS and _OFFSET.fullmatch(headers[-1][1]):
        return min(offset, int(headers[-1][1]))
    if not headers or headers[0] != ("content-type", CONTENT_TYPE):
        return offset
    refusal = dict(headers).get(HEADER, b"")
    try:
        return min(offset, _DECODER.decode(refusal).first)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return offset
