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
_VTABLE = struct.Struct("<HH")
_SLOT = struct.Struct("<H")
_SLOTS = struct.Struct("<HHHHHH")
_LONG = struct.Struct("<q")
_UNSIGNED = struct.Struct("<I")
_BUFFER = struct.Struct("<qq")


class BatchHead(NamedTuple):
    """Say how many rows a record batch declares, where its message ends and whether its body is compressed."""

    rows: int
    end: int
    is_compressed: bool


def schema_length(value: bytes) -> int:
    """Return the length of the schema message at the start of `value`, prefix included."""
    mark, length = struct.unpack_from("<ii", value)
    if mark != -1 or length <= 0 or 8 + length > len(value):
        raise ValueError("it does not begin with an Arrow schema")
    return 8 + int(length)


def read_batch_head(value: bytes, at: int) -> BatchHead | None:
    """Return the head of the record batch message at `at`, or None where there is anything else.

    Raises struct.error or IndexError where an offset leads out of `value`.
    """
    mark, length, root = _PREFIX.unpack_from(value, at)
    if mark != -1 or length < 16:
        return None
    table = at + 8 + root
    vtable = table - _OFFSET.unpack_from(value, table)[0]
    size, _, _, kind_slot, header_slot, body_slot = _SLOTS.unpack_from(value, vtable)
    if size < 10 or not kind_slot or not header_slot or value[table + kind_slot] != RECORD_BATCH:
        return None
    batch = table + header_slot + _UNSIGNED.unpack_from(value, table + header_slot)[0]
    body = _LONG.unpack_from(value, table + body_slot)[0] if body_slot and size >= 12 else 0
    vtable = batch - _OFFSET.unpack_from(value, batch)[0]
    size, _, rows_slot, _, _, compression_slot = _SLOTS.unpack_from(value, vtable)
    rows = _LONG.unpack_from(value, batch + rows_slot)[0] if rows_slot and size > 4 else 0
    if body < 0 or rows < 0:
        return None
    return BatchHead(rows, at + 8 + length + body, size >= 12 and compression_slot != 0)


def expanded_length(value: bytes) -> int:
    """Return how many bytes the bodies of a whole stream hold once their buffers are decompressed.

    Raises ValueError in words where the bytes are no stream of a schema, batches and the end, to the last
    byte; struct.error or IndexError where an offset leads out of them.
    """
    at = schema_length(value)
    total = 0
    while not value.startswith(END, at):
        if at >= len(value):
            raise ValueError("it has no end of stream: it was cut off, or its writer was not closed")
        head = read_batch_head(value, at)
        if head is None:
            raise ValueError(f"at byte {at} there is no record batch")
        if not at < head.end <= len(value):
            raise ValueError(f"its record batch at byte {at} is longer than the message: it was cut off")
        total += _expanded_body(value, at) if head.is_compressed else head.end - at
        at = head.end
    if at + len(END) != len(value):
        raise ValueError(f"{len(value) - at - len(END)} bytes follow the end of the stream")
    return total


def _expanded_body(value: bytes, at: int) -> int:
    """Return what the compressed buffers of the record batch at `at` say that they expand to."""
    _, length, root = _PREFIX.unpack_from(value, at)
    table = at + 8 + root
    header = field_at(value, table, 2)
    buffers = field_at(value, header + _UNSIGNED.unpack_from(value, header)[0], 2)
    vector = buffers + _UNSIGNED.unpack_from(value, buffers)[0]
    (count,) = _UNSIGNED.unpack_from(value, vector)
    body, total = at + 8 + length, 0
    for index in range(min(count, len(value) // 16)):
        start, size = _BUFFER.unpack_from(value, vector + 4 + 16 * index)
        if start < 0 or size < 0:
            raise ValueError("a buffer lies outside its record batch")
        if size >= 8:
            (expanded,) = _LONG.unpack_from(value, body + start)
            total += expanded if expanded >= 0 else size
    return total


def field_at(value: bytes, table: int, index: int) -> int:
    """Return where the field `index` of a flatbuffer table lies; ValueError where it has none."""
    vtable = table - _OFFSET.unpack_from(value, table)[0]
    size, _ = _VTABLE.unpack_from(value, vtable)
    slot = _SLOT.unpack_from(value, vtable + 4 + 2 * index)[0] if size >= 6 + 2 * index else 0
    if slot == 0:
        raise ValueError("a record batch lacks what every record batch has")
    return int(table + slot)
