"""Record batches as they come off the wire, so that one that cannot be read costs itself and nothing else.

aiokafka ends a fetch with an exception, and asks for the same bytes again for ever, where a batch expands
without end, does not decompress, fails its CRC or holds a header whose name is no UTF-8. Here such a batch
becomes one stand-in (schemas.refused_batch), the records of it that can be read are kept, and the position
moves on. What consumers give out are Messages, made from the batch in one step: a live log has a batch for
each message, and objects between the two cost as much as the reading itself.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.structs import TopicPartition

from broker import codecs, decompress
from broker.salvage import BatchHead, Record, salvage
from schemas.message import Message
from schemas.refused_batch import markers_header

MAX_BATCH_RECORDS = 100_000
"""More records than this in one batch are refused: a few kB of zstd can hold millions of empty ones."""

CRC_ATTEMPTS = 3
"""How often a batch with a wrong CRC is fetched before it is given up: the wire may have been at fault."""

_PREFIX = struct.Struct(">qi")
_HEADER = struct.Struct(">qiibIhiqqqhii")
_COUNT = struct.Struct(">i")
_COUNT_AT = _HEADER.size - _COUNT.size
_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_DECODERS = ("gzip_decode", "snappy_decode", "lz4_decode", "zstd_decode")
_BASE = struct.Struct(">q")
_ATTRIBUTES_AT, _CONTROL = 22, 0x20
_markers: dict[TopicPartition, tuple[int, int]] = {}
"""By partition the markers of transactions `[first, behind)` that were passed since the last message."""
_crc_attempts: Counter[tuple[TopicPartition, int, int]] = Counter()


def install() -> None:
    """Let every aiokafka consumer of this process read batches as this module does; twice does no harm."""
    codecs.put_in_place({name: getattr(decompress, name) for name in _DECODERS})
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = PartitionRecords


class Batches:
    """Cut a fetched buffer into batches, in place of aiokafka's MemoryRecords."""

    def __init__(self, fetched: bytes) -> None:
        self._fetched = fetched
        self._at = 0

    def size_in_bytes(self) -> int:
        """Return the bytes fetched; more than none and no whole batch is a batch larger than the fetch."""
        return len(self._fetched)

    def has_next(self) -> bool:
        """Tell whether a whole batch follows; the last one of a fetch is often cut off."""
        return self._end() is not None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes of each whole batch."""
        while (end := self._end()) is not None:
            raw, self._at = self._fetched[self._at : end], end
            yield raw

    def _end(self) -> int | None:
        if len(self._fetched) - self._at < _PREFIX.size:
            return None
        _, length = _PREFIX.unpack_from(self._fetched, self._at)
        end: int = self._at + _PREFIX.size + length
        return end if length > 0 and end <= len(self._fetched) else None


class PartitionRecords:
    """Give out the Messages of one partition's fetch, in place of aiokafka's class of the same name.

    `next_fetch_offset` is the position behind what was given out. Transactions are read as they lie in the log.
    """

    def __init__(self, at: TopicPartition, batches: Batches, aborted: object, fetch_offset: int, *rest: object) -> None:
        self.next_fetch_offset = fetch_offset
        self._messages = self._unpacked(at, batches)

    def __iter__(self) -> Iterator[Message]:
        """Return the messages that were not given out yet."""
        return self._messages

    def __next__(self) -> Message:
        """Return the next message."""
        return next(self._messages)

    def _unpacked(self, at: TopicPartition, batches: Batches) -> Iterator[Message]:
        for raw in batches:
            messages, end = unpack(at, raw)
            if end is None:
                return
            messages = _after_markers(at, raw, messages, end)
            for message in messages:
                # A fetch begins with the whole batch that holds the offset asked for.
                if message.offset >= self.next_fetch_offset:
                    self.next_fetch_offset = message.offset + 1
                    yield message
            self.next_fetch_offset = end  # of a compacted batch the last records may be gone


def unpack(at: TopicPartition, raw: bytes) -> tuple[Sequence[Message], int | None]:
    """Return the messages of one batch, with stand-ins for what cannot be read, and the offset behind it.

    None in place of the offset: the batch is damaged and is to be fetched again.
    """
    if len(raw) < _HEADER.size or raw[16] != 2:
        return _refused(at, raw, "is of a format older than Kafka 0.11, or of none")
    batch = DefaultRecordBatch(raw)
    if not batch.validate_crc():
        return _damaged(at, raw, batch)
    end = batch.next_offset
    if batch.is_control_batch:
        return (), end
    (count,) = _COUNT.unpack_from(raw, _COUNT_AT)
    if count > MAX_BATCH_RECORDS or end - batch.base_offset > MAX_BATCH_RECORDS:
        said = f"holds {count} records; at most {MAX_BATCH_RECORDS} are allowed: send smaller batches"
        return _refused(at, raw, said, "too_large")
    try:
        return [_message(at, record) for record in batch], end
    except decompress.BatchTooLargeError as error:
        said = f"({_head(raw)[1]}, {len(raw)} bytes on the wire) {error}: send smaller batches"
        return _refused(at, raw, said, "too_large")
    except Exception:  # whatever the reader of records raises: the other records are still wanted
        return [_message(at, record) for record in _salvaged(raw, count)], end


def _after_markers(at: TopicPartition, raw: bytes, messages: Sequence[Message], end: int) -> Sequence[Message]:
    """Return the messages of a batch, the first of which tells that markers of transactions lie before it.

    A transaction ends with a marker, which takes an offset and is no message: without a word it looks like a hole.
    """
    (base,) = _BASE.unpack_from(raw)
    first, behind = _markers.pop(at, (base, base))
    if not messages and raw[_ATTRIBUTES_AT] & _CONTROL:
        _markers[at] = (first if behind == base else base, end)
        return messages
    if not messages or behind != base or first == base:
        return messages
    return [messages[0]._replace(headers=(*messages[0].headers, markers_header(first))), *messages[1:]]


def _message(at: TopicPartition, record: Any) -> Message:
    return Message(
        at.topic,
        at.partition,
        record.offset,
        record.timestamp * 1000,
        record.key,
        record.value,
        tuple(record.headers),
    )


def _damaged(at: TopicPartition, raw: bytes, batch: Any) -> tuple[Sequence[Message], int | None]:
    """Return a batch with a wrong CRC: none of it, to be fetched again, and in the end its stand-in."""
    place = (at, batch.base_offset, batch.crc)
    _crc_attempts[place] += 1
    if _crc_attempts[place] < CRC_ATTEMPTS:
        return (), None
    del _crc_attempts[place]
    return _refused(at, raw, "does not match its CRC: it was damaged on the broker's disk")


def _refused(
    at: TopicPartition, raw: bytes, said: str, reason: str = "undecodable_batch"
) -> tuple[Sequence[Message], int]:
    head, _ = _head(raw)
    return [_message(at, head.stand_in(reason, said))], head.last + 1


def _salvaged(raw: bytes, count: int) -> Iterator[Record]:
    head, codec = _head(raw)
    payload = raw[_HEADER.size :]
    try:
        if codec != "none":
            payload = getattr(decompress, f"{codec}_decode")(payload)
    except Exception as error:
        yield head.stand_in("undecodable_batch", f"does not decompress as {codec} ({error})")
        return
    yield from salvage(head, payload, count)


def _head(raw: bytes) -> tuple[BatchHead, str]:
    """Return the head of a batch and its codec, from bytes that may be damaged."""
    fields = _HEADER.unpack_from(raw.ljust(_HEADER.size, b"\0"))
    first, attributes, delta, first_timestamp, max_timestamp = *fields[:1], *fields[5:9]
    if not 0 <= delta < 2**31 - 1:
        delta = 0
    codec = attributes & 7
    name = _CODECS[codec] if codec < len(_CODECS) else f"codec {codec}"
    return BatchHead(first, first + delta, first_timestamp, max_timestamp, attributes >> 3 & 1), name
