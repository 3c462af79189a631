"""Record batches made by hand and sent as they are: what no producer of good will would send."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import cramjam
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c, encode_varint
from aiokafka.structs import TopicPartition

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def varint(number: int) -> bytes:
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)


def record(index: int, value: bytes, key: bytes | None = b"k", headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Return one record of the batch format, length in front; header names are bytes, as on the wire."""
    parts = [b"\0", varint(0), varint(index), _field(key), _field(value)]
    pairs = list(headers)
    parts += [varint(len(pairs)), *(_field(name) + _field(text) for name, text in pairs)]
    body = b"".join(parts)
    return varint(len(body)) + body


def _field(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def batch(payload: bytes, count: int, codec: str = "none", base: int = 0) -> bytes:
    """Return a batch around `payload`, which is compressed already, with a good CRC."""
    after_crc = struct.pack(">hiqqqhii", CODECS[codec], count - 1, 1, 1, -1, -1, -1, count) + payload
    return struct.pack(">qiibI", base, len(after_crc) + 9, -1, 2, calc_crc32c(after_crc)) + after_crc


def zstd_bomb(size: int) -> bytes:
    """Return a batch of one record whose value is `size` zeros; building it takes no such memory."""
    body_head = b"\0" + varint(0) + varint(0) + varint(-1) + varint(size)
    length = len(body_head) + size + 1
    compressor = cramjam.zstd.Compressor(3)
    compressor.compress(varint(length) + body_head)
    piece = bytes(1 << 24)
    for start in range(0, size, len(piece)):
        compressor.compress(piece[: min(len(piece), size - start)])
    compressor.compress(varint(0))
    return batch(bytes(compressor.finish()), 1, "zstd")


def empty_records(count: int) -> bytes:
    """Return a batch of `count` records without a key and with nothing in them, a byte or less of zstd each."""
    payload = b"".join(record(index, b"", None) for index in range(count))
    return batch(bytes(cramjam.zstd.compress(payload)), count, "zstd")


async def send_batch(bootstrap: str, topic: str, raw: bytes, partition: int = 0) -> tuple[int, int]:
    """Send one batch as it is; return Kafka's error code and the base offset that it gave."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=60_000)
    await client.bootstrap()
    try:
        client.add_topic(topic)
        await client.force_metadata_update()
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = ProduceRequest(None, 1, 60_000, [(topic, [(partition, raw)])])
        response = await client.send(leader, request)
        _, code, offset, *_ = response.topics[0][1][0]
        return code, offset
    finally:
        await client.close()
