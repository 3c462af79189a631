"""Record batches as they come off the wire, so that one that cannot be read costs itself and nothing else.

aiokafka ends a fetch with an exception, and asks for the same bytes again for ever, where a batch expands
without end, does not decompress, fails its CRC or holds a header whose name is no UTF-8. Here such a batch
becomes one stand-in (schemas.refused_batch), the records of it that can be read are kept, and the position
moves on.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from broker import codecs, decompress
from broker.salvage import BatchHead, Record, salvage

MAX_BATCH_RECORDS = 100_000
"""More records than this in one batch are refused: a few kB of zstd can hold millions of empty ones."""

CRC_ATTEMPTS = 3
"""How often a batch with a wrong CRC is fetched before it is given up: the wire may have been at fault."""

_PREFIX = struct.Struct(">qi")
_HEADER = struct.Struct(">qiibIhiqqqhii")
_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_DECODERS = ("gzip_decode", "snappy_decode", "lz4_decode", "zstd_decode")
_crc_attempts: Counter[tuple[str, int, int]] = Counter()


def install() -> None:
    """Let every aiokafka consumer of this process read batches as this module does; twice does no harm."""
    codecs.put_in_place({name: getattr(decompress, name) for name in _DECODERS})
    fetcher.MemoryRecords = BoundedRecords
    fetcher.PartitionRecords = PartitionRecords


class BoundedRecords:
    """Cut a fetched buffer into batches that never raise, in place of aiokafka's MemoryRecords."""

    def __init__(self, fetched: bytes) -> None:
        self._fetched = fetched
        self._at = 0
        self.reader: PartitionRecords | None = None

    def size_in_bytes(self) -> int:
        """Return the bytes fetched; more than none and no whole batch is a batch larger than the fetch."""
        return len(self._fetched)

    def has_next(self) -> bool:
        """Tell whether a whole batch follows; the last one of a fetch is often cut off."""
        return self._end() is not None

    def next_batch(self) -> Any:
        """Return the next batch; control batches as they are, others as Batch."""
        end = self._end()
        if end is None:
            return None
        raw, self._at = self._fetched[self._at : end], end
        if len(raw) < _HEADER.size or raw[16] != 2:
            return Batch(raw, None, "is of a format older than Kafka 0.11, or of none")
        batch = MemoryRecords(raw).next_batch()
        if not batch.validate_crc():
            return self._damaged(raw, batch)
        return batch if batch.is_control_batch else Batch(raw, batch)

    def _end(self) -> int | None:
        if len(self._fetched) - self._at < _PREFIX.size:
            return None
        _, length = _PREFIX.unpack_from(self._fetched, self._at)
        end = self._at + _PREFIX.size + length
        return end if length > 0 and end <= len(self._fetched) else None

    def _damaged(self, raw: bytes, batch: Any) -> Batch:
        """Return a batch with a wrong CRC: none of it, to be fetched again, and in the end its stand-in."""
        reader = self.reader
        place = ("" if reader is None else str(reader.partition), batch.base_offset, batch.crc)
        _crc_attempts[place] += 1
        if reader is not None and _crc_attempts[place] < CRC_ATTEMPTS:
            self._at = len(self._fetched)
            return Batch(raw, None, "", next_offset=reader.next_fetch_offset)
        del _crc_attempts[place]
        return Batch(raw, None, "does not match its CRC: it was damaged on the broker's disk")


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Read one partition's batches as aiokafka does, and let them know how far it has come."""

    def __init__(self, partition: Any, records: BoundedRecords, *rest: Any) -> None:
        self.partition = partition
        records.reader = self
        super().__init__(partition, records, *rest)


class Batch:
    """One batch whose iteration never raises: what cannot be read of it is a stand-in."""

    is_control_batch = False

    def __init__(self, raw: bytes, batch: Any, wrong: str = "", *, next_offset: int | None = None) -> None:
        self._raw, self._batch, self._wrong = raw, batch, wrong
        self._head, self._count, self._codec = _head(raw)
        self.base_offset = self._head.first
        self.next_offset = self._head.last + 1 if next_offset is None else next_offset
        self.producer_id = None if batch is None else batch.producer_id
        self.is_transactional = batch is not None and batch.is_transactional
        self._is_awaited = next_offset is not None

    def validate_crc(self) -> bool:
        """Return True: it was validated before anything else."""
        return True

    def __iter__(self) -> Iterator[Any]:
        """Yield the records, and stand-ins for what cannot be read."""
        if self._is_awaited:
            return
        if self._wrong:
            yield self._head.stand_in("undecodable_batch", self._wrong)
        elif self._count > MAX_BATCH_RECORDS or self._head.last - self._head.first >= MAX_BATCH_RECORDS:
            said = f"holds {self._count} records; at most {MAX_BATCH_RECORDS} are allowed: send smaller batches"
            yield self._head.stand_in("too_large", said)
        else:
            yield from self._records()

    def _records(self) -> Iterator[Any]:
        after = self._head.first - 1
        try:
            for record in self._batch:
                yield record
                after = record.offset
        except decompress.BatchTooLargeError as error:
            said = f"({self._codec}, {len(self._raw)} bytes on the wire) {error}: send smaller batches"
            yield self._head.stand_in("too_large", said)
        except Exception:  # whatever the reader of records raises: the records after it are still wanted
            yield from (record for record in self._salvaged() if record.offset > after)

    def _salvaged(self) -> Iterator[Record]:
        payload = self._raw[_HEADER.size :]
        try:
            if self._codec != "none":
                payload = getattr(decompress, f"{self._codec}_decode")(payload)
        except Exception as error:
            yield self._head.stand_in("undecodable_batch", f"does not decompress as {self._codec} ({error})")
            return
        yield from salvage(self._head, payload, self._count)


def _head(raw: bytes) -> tuple[BatchHead, int, str]:
    """Return the head of a batch, the number of its records and its codec, from bytes that may be damaged."""
    fields = _HEADER.unpack_from(raw.ljust(_HEADER.size, b"\0"))
    first, attributes, delta, first_timestamp, max_timestamp, count = *fields[:1], *fields[5:9], fields[12]
    if not 0 <= delta < 2**31 - 1:
        delta = 0
    codec = attributes & 7
    name = _CODECS[codec] if codec < len(_CODECS) else f"codec {codec}"
    return BatchHead(first, first + delta, first_timestamp, max_timestamp, attributes >> 3 & 1), count, name
