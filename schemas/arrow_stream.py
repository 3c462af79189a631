"""The bytes of an Arrow IPC stream, read by hand as far as safety needs: where messages end and what they hold.

Only lengths and counts are read here, never values. Nothing is trusted: every read that leaves the
buffer raises struct.error, and the callers compare each length with the bytes that are there.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The end of a stream: a continuation mark and no metadata."""

SCHEMA, DICTIONARY_BATCH, RECORD_BATCH = 1, 2, 3
"""Values of `MessageHeader` in Arrow's Message.fbs."""

_PREFIX = struct.Struct("<iiI")
_OFFSET = struct.Struct("<i")
_VTABLE = struct.Struct("<H")
_MESSAGE_SLOTS = struct.Struct("<HHHHHH")
_BATCH_SLOTS = struct.Struct("<HHHHHH")
_LONG = struct.Struct("<q")
_UNSIGNED = struct.Struct("<I")


class BatchHead(NamedTuple):
    """Say how many rows a record batch declares, where its message ends and whether its body is compressed."""

    rows: int
    end: int
    is_compressed: bool


def schema_length(value: bytes) -> int:
    """Return the length of the schema message at the start of `value`, prefix included."""
    mark, length = struct.unpack_from("<ii", value)
    if mark != -1 or length <= 0 or 8 + length > len(value):
        raise ValueError("does not begin with an Arrow schema message")
    return 8 + int(length)


def read_batch_head(value: bytes, at: int) -> BatchHead | None:
    """Return the head of the record batch message at `at`, or None where there is anything else.

    Raises struct.error where an offset leads out of `value`.
    """
    mark, length, root = _PREFIX.unpack_from(value, at)
    if mark != -1 or length < 16:
        return None
    table = at + 8 + root
    vtable = table - _OFFSET.unpack_from(value, table)[0]
    size, _, _, kind_slot, header_slot, body_slot = _MESSAGE_SLOTS.unpack_from(value, vtable)
    if size < 12 or not kind_slot or not header_slot or value[table + kind_slot] != RECORD_BATCH:
        return None
    batch = table + header_slot + _UNSIGNED.unpack_from(value, table + header_slot)[0]
    body = _LONG.unpack_from(value, table + body_slot)[0] if body_slot else 0
    vtable = batch - _OFFSET.unpack_from(value, batch)[0]
    size, _, rows_slot, _, _, compression_slot = _BATCH_SLOTS.unpack_from(value, vtable)
    rows = _LONG.unpack_from(value, batch + rows_slot)[0] if rows_slot and size > 4 else 0
    if body < 0 or rows < 0:
        return None
    return BatchHead(rows, at + 8 + length + body, size >= 12 and compression_slot != 0)
