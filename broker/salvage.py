"""Records read by hand from a batch that the client's own reader gives up on.

Each record is length-prefixed, so one that is damaged, or has a header whose name is no UTF-8, need not
cost those after it. Slow; only batches that have failed once come here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from schemas.refused_batch import RefusedBatch


class Record(NamedTuple):
    """One record as aiokafka's reader of partitions asks for it."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class BatchHead(NamedTuple):
    """Say where a batch begins and ends in the log, and the time of its records where Kafka gave it."""

    first: int
    last: int
    first_timestamp: int
    max_timestamp: int
    timestamp_type: int

    def stand_in(self, reason: str, said: str, first: int | None = None, last: int | None = None) -> Record:
        """Return the record that stands for the offsets `[first, last]`, by default the whole batch."""
        begins, ends = self.first if first is None else first, self.last if last is None else last
        refused = RefusedBatch("too_large" if reason == "too_large" else "undecodable_batch", begins, ends, said)
        return Record(ends, self.max_timestamp, self.timestamp_type, None, b"", [*refused.headers()])


def salvage(head: BatchHead, payload: bytes, count: int) -> Iterator[Record]:
    """Yield the records of a decompressed batch in order, with a stand-in for each that cannot be read."""
    at = 0
    for index in range(count):
        offset = head.first + index
        try:
            length, start = read_varint(payload, at)
            at = start + length
            if length < 0 or at > len(payload):
                raise ValueError(f"a record of {length} bytes at {start} does not fit {len(payload)} bytes")
        except ValueError as error:
            yield head.stand_in("undecodable_batch", f"is damaged: {error}", offset)
            return
        try:
            yield _read_record(head, payload[start:at])
        except ValueError as error:
            yield head.stand_in("undecodable_batch", f"is damaged: {error}", offset, offset)


def _read_record(head: BatchHead, record: bytes) -> Record:
    """Return one record; ValueError where its parts do not fit it."""
    delta, at = read_varint(record, 1)
    index, at = read_varint(record, at)
    if not 0 <= index <= head.last - head.first:
        raise ValueError(f"a record of offset {head.first + index} lies outside its batch")
    key, at = _read_bytes(record, at)
    value, at = _read_bytes(record, at)
    count, at = read_varint(record, at)
    if count < 0:
        raise ValueError(f"a record says that it has {count} headers")
    headers = []
    for _ in range(count):
        name, at = _read_bytes(record, at)
        header, at = _read_bytes(record, at)
        headers.append(((name or b"").decode("utf-8", "backslashreplace"), header))
    timestamp = head.max_timestamp if head.timestamp_type == 1 else head.first_timestamp + delta
    return Record(head.first + index, timestamp, head.timestamp_type, key, value, headers)


def _read_bytes(record: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = read_varint(record, at)
    if length < 0:
        return None, at
    if at + length > len(record):
        raise ValueError(f"a field of {length} bytes at {at} does not fit its record of {len(record)} bytes")
    return record[at : at + length], at + length


def read_varint(buffer: bytes, at: int) -> tuple[int, int]:
    """Return the zigzag varint at `at` and where it ends; ValueError where it does not end in ten bytes."""
    value = 0
    for shift, byte in enumerate(buffer[at : at + 10]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at + shift + 1
    raise ValueError(f"no number ends at {at}")
