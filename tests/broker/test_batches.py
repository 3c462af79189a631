"""Record batches that cannot be read, sent to a real Kafka by hand: each costs itself and nothing else."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
import zstandard
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from broker import batches, compress, decompress
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas.decode import decode
from schemas.message import Message
from schemas.refused_batch import batch_refusal, first_offset
from tests.bad_input import wire

READ_IN_A_PROCESS = """
import asyncio, json, resource, sys
from broker.consumer import read_to_end

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
messages = asyncio.run(read_to_end(*sys.argv[1:]))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"values": [m.value.decode() for m in messages], "grown_kib": after - before}))
"""


def read(fetched: bytes, at: int = 0) -> tuple[list[Message], int]:
    """Return what a consumer at `at` sees of one fetch, and its next position."""
    batches.install()
    reader = batches.PartitionRecords(TopicPartition("t", 0), batches.Batches(fetched), [], at, None, None, True, 0)
    return list(reader), reader.next_fetch_offset


def compressed(codec: str, values: list[bytes]) -> bytes:
    """Return a batch as aiokafka's own producer builds it."""
    builder = DefaultRecordBatchBuilder(2, wire.CODECS[codec], 0, -1, -1, -1, 1 << 30)
    for index, value in enumerate(values):
        assert builder.append(index, 1, b"k", value, []) is not None
    return bytes(builder.build())


def refusals(messages: list[Message]) -> list[tuple[str, int, int]]:
    return [
        (refusal.reason, first_offset(message.offset, message.headers), message.offset)
        for message in messages
        if (refusal := batch_refusal(message)) is not None
    ]


async def send(kafka: EmbeddedKafka, topic: str, *parts: bytes | str) -> list[int]:
    """Send text as messages of good will and bytes as batches as they are; return Kafka's error codes of these."""
    codes = []
    async with Producer(kafka.bootstrap) as producer:
        for part in parts:
            if isinstance(part, str):
                await (await producer.send(topic, part.encode(), key=b"k"))
            else:
                codes.append((await wire.send_batch(kafka.bootstrap, topic, part))[0])
    return codes


def test_a_batch_that_expands_to_two_gigabytes_is_one_refusal(kafka: EmbeddedKafka, new_topic: Callable) -> None:
    """Kafka takes 61 kB of zstd that hold 2 GB; a consumer must not, and must see what comes after."""
    topic = new_topic("bomb")
    assert asyncio.run(send(kafka, topic, "before", wire.zstd_bomb(2_000_000_000), "after")) == [0]
    command = [sys.executable, "-c", READ_IN_A_PROCESS, kafka.bootstrap, topic]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert told["values"] == ["before", "", "after"]
    assert told["grown_kib"] < 2 * decompress.MAX_BATCH_BYTES / 1024
    messages = asyncio.run(read_to_end(kafka.bootstrap, topic))
    assert refusals(messages) == [("too_large", 1, 1)]


def test_a_batch_of_a_million_empty_records_is_one_refusal(kafka: EmbeddedKafka, new_topic: Callable) -> None:
    topic = new_topic("many")
    assert asyncio.run(send(kafka, topic, "before", wire.empty_records(1_000_000), "after")) == [0]
    messages = asyncio.run(read_to_end(kafka.bootstrap, topic))
    assert [message.offset for message in messages] == [0, 1_000_000, 1_000_001]
    assert refusals(messages) == [("too_large", 1, 1_000_000)]


def test_a_header_name_that_is_no_text_costs_no_record(kafka: EmbeddedKafka, new_topic: Callable) -> None:
    """Kafka takes any bytes as the name of a header; aiokafka alone raises on them, again and again."""
    topic = new_topic("header")
    records = [wire.record(0, b"v0"), wire.record(1, b"v1", headers=[(b"\xff\xfe", b"x")]), wire.record(2, b"v2")]
    assert asyncio.run(send(kafka, topic, wire.batch(b"".join(records), 3), "after")) == [0]
    messages = asyncio.run(read_to_end(kafka.bootstrap, topic))
    assert [message.value for message in messages] == [b"v0", b"v1", b"v2", b"after"]
    assert messages[1].headers == (("\\xff\\xfe", b"x"),)


DAMAGED = {
    "does not decompress": wire.batch(b"this is no zstd", 1, "zstd"),
    "a wrong CRC": wire.batch(wire.record(0, b"v"), 1)[:-1] + b"\x05",
    "fewer records than it says": wire.batch(wire.record(0, b"v"), 2),
    "a negative number of headers": wire.batch(wire.record(0, b"v")[:-1] + wire.varint(-5), 1),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_kafka_itself_refuses_batches_that_are_damaged(kafka: EmbeddedKafka, new_topic: Callable, name: str) -> None:
    """So on a consumer they mean a damaged disk; what Kafka lets through is held by the tests above."""
    topic = new_topic("damaged")
    assert asyncio.run(send(kafka, topic, DAMAGED[name], "after")) != [0]
    assert [message.value for message in asyncio.run(read_to_end(kafka.bootstrap, topic))] == [b"after"]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_good_batches_read_as_they_were_written(codec: str) -> None:
    values = [b"v%d" % index * 40 for index in range(100)]
    messages, position = read(compressed(codec, values))
    assert [message.value for message in messages] == values
    assert position == 100
    resumed, _ = read(compressed(codec, values), at=97)
    assert [message.offset for message in resumed] == [97, 98, 99]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_every_codec_stops_at_the_bound(codec: str) -> None:
    too_much = compressed(codec, [bytes(decompress.MAX_BATCH_BYTES + 1)])
    messages, position = read(too_much + compressed(codec, [b"x"]))
    assert refusals(messages) == [("too_large", 0, 0)]
    assert position == 1


def test_a_wrong_crc_is_fetched_again_before_it_is_given_up() -> None:
    damaged = bytearray(compressed("none", [b"v0", b"v1"]))
    damaged[-2] ^= 1
    awaited = [read(bytes(damaged)) for _ in range(batches.CRC_ATTEMPTS - 1)]
    assert awaited == [([], 0)] * (batches.CRC_ATTEMPTS - 1)
    messages, position = read(bytes(damaged))
    assert refusals(messages) == [("undecodable_batch", 0, 1)]
    assert position == 2


def test_a_damaged_record_costs_none_of_its_batch() -> None:
    bad = wire.record(1, b"v1")[:-1] + wire.varint(-5)
    damaged = wire.batch(wire.record(0, b"v0") + bad + wire.record(2, b"v2"), 3)
    messages, position = read(damaged)
    assert [message.value for message in messages] == [b"v0", b"", b"v2"]
    assert refusals(messages) == [("undecodable_batch", 1, 1)]
    assert position == 3


def test_a_record_that_claims_more_than_there_is_ends_its_batch() -> None:
    torn = wire.batch(wire.record(0, b"v0") + wire.varint(1_000_000) + b"\0\0", 4)
    messages, position = read(torn)
    assert [message.value for message in messages] == [b"v0", b""]
    assert refusals(messages) == [("undecodable_batch", 1, 3)]
    assert position == 4


def test_a_snappy_block_of_negative_length_ends() -> None:
    header = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
    messages, _ = read(wire.batch(header + b"\xff\xff\xff\xf0" + b"x" * 20, 1, "snappy"))
    assert refusals(messages) == [("undecodable_batch", 0, 0)]


def test_the_refusal_of_a_batch_says_what_was_skipped() -> None:
    messages, _ = read(compressed("zstd", [bytes(decompress.MAX_BATCH_BYTES + 1)]))
    stand_in = messages[0]._replace(topic="telemetry.gpu.v1")
    refused = decode("telemetry.gpu.v1", [stand_in], None).refused
    assert refused.select("partition", "offset", "row", "reason").rows() == [(0, 0, -1, "too_large")]
    assert "offsets 0 to 0 (zstd, " in refused["message"][0]


READINGS = bytes(range(256)) * 40
FRAME = compress.zstd_encode(READINGS)
UNSIZED = zstandard.ZstdCompressor(write_content_size=False)
"""As Java's clients write it: what streams does not know its size."""
FRAMES = {
    "one frame": (FRAME, READINGS),
    "nothing in it": (compress.zstd_encode(b""), b""),
    "a frame without a size": (UNSIZED.compress(READINGS), READINGS),
    "a large frame without a size": (UNSIZED.compress(READINGS * 200), READINGS * 200),
    "two frames": (FRAME + UNSIZED.compress(READINGS), READINGS * 2),
}


@pytest.mark.parametrize("name", FRAMES)
def test_zstd_of_every_client_is_read_whole(name: str) -> None:
    frames, readings = FRAMES[name]
    assert decompress.zstd_decode(frames) == readings


@pytest.mark.parametrize("frame", [FRAME[:-3], FRAME + b"more", b"", b"this is no zstd"], ids=repr)
def test_damaged_zstd_is_an_error_and_never_half_of_it(frame: bytes) -> None:
    with pytest.raises(Exception, match=r"(?i)frame|prefix|incomplete|src"):
        decompress.zstd_decode(frame)


def test_a_small_frame_that_claims_to_be_large_takes_no_memory_for_it() -> None:
    claims = zstandard.ZstdCompressor().compressobj(size=decompress.MAX_BATCH_BYTES + 1)
    with pytest.raises(decompress.BatchTooLargeError):
        decompress.zstd_decode(claims.compress(bytes(decompress.MAX_BATCH_BYTES + 1)) + claims.flush())
