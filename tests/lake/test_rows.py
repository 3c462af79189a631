"""Garbage on every topic that the lake keeps: it never stops the writer, and its neighbours come through."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.message import Message
from schemas.refused_batch import RefusedBatch
from sinks.lake.rows import read_rows
from sinks.lake.tables import BY_NAME, TABLES, TOPICS
from tests.lake.readings import GPU_TOPIC, START, gpu_message, json_message

GARBAGE: list[bytes | None] = [
    None,
    b"",
    b"\x00" * 100,
    b"\xff\xfe",
    b"{",
    b"[" * 100_000,
    b'{"time": 1e999}',
    b'{"time": NaN}',
    b'{"time": "2026-03-01T12:00:00Z", "rack": "' + b"a" * 100_000 + b'"}',
    b'{"version": 1e400}',
    b'{"version": 12345678901234567890123}',
    b'{"version": 1, "effective_from": "not a time"}',
    b'{"version": 1, "effective_from": 99999999999999999}',
    b"null",
    b"\xef\xbb\xbf{}",
    b'{"id": "\\ud800"}',
]
TYPES = [(), (("content-type", b"application/vnd.apache.arrow.stream"),), (("content-type", b"image/png"),)]


@pytest.mark.parametrize("headers", TYPES)
@pytest.mark.parametrize("topic", TOPICS)
def test_garbage_gives_rows_of_the_tables_shape_and_no_error(
    topic: str, headers: tuple[tuple[str, bytes], ...]
) -> None:
    messages = [Message(topic, 0, offset, START, b"k", value, headers) for offset, value in enumerate(GARBAGE)]
    rows = read_rows(topic, messages, None, "event")
    assert set(rows) == {table.name for table in TABLES if topic in table.topics}
    assert all(rows[name].schema == BY_NAME[name].arrow for name in rows)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mutilated_native_message_never_costs_its_neighbours(data: st.DataObject) -> None:
    good = [gpu_message(offset) for offset in (0, 2)]
    value = bytearray(gpu_message(1).value or b"")
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    bad = gpu_message(1)._replace(value=bytes(value[: data.draw(st.integers(1, len(value)))]))
    rows = read_rows(GPU_TOPIC, [good[0], bad, good[1]], None, "event")["gpu"]
    offsets = rows.column("_offset").to_pylist()
    assert (offsets.count(0), offsets.count(2)) == (8, 8)


def test_a_message_that_no_decoder_survives_is_left_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from sinks.lake import rows as module

    real = module.decode

    def fragile(topic: str, messages: list[Message], registry: object) -> object:
        if any(message.offset == 3 for message in messages):
            raise MemoryError("a message that is too much")
        return real(topic, messages, registry)

    monkeypatch.setattr(module, "decode", fragile)
    said = b'{"time": "2026-03-01T12:00:00Z", "rack": 1, "node": 11, "gpu": 2, "power_watts": 5}'
    log = [json_message(GPU_TOPIC, offset, said) for offset in range(6)]  # by the block nothing is decoded
    rows = read_rows(GPU_TOPIC, log, None, "event")["gpu"]
    assert sorted(set(rows.column("_offset").to_pylist())) == [0, 1, 2, 4, 5]
    messages = [Message("windows.site.v1", 0, 3, START, b"k", b"x")]
    refused: pa.Table = read_rows("windows.site.v1", messages, None, "event")["rejected"]
    assert refused.column("message").to_pylist() == ["windows.site.v1/0/3: cannot be read: MemoryError"]


@pytest.mark.parametrize("topic", ["windows.site.v1", "alerts.v1", "facility.v1", "telemetry.rejected.v1"])
def test_a_record_batch_that_cannot_be_read_is_refused_with_its_offsets(topic: str) -> None:
    batch = RefusedBatch("too_large", 3, 9, "expands to more than 67108864 bytes")
    message = Message(topic, 0, 9, START, None, b"", tuple(batch.headers()))
    refused = read_rows(topic, [message], None, "event")["rejected"].to_pylist()
    assert [(row["reason"], row["value"]) for row in refused] == [("too_large", "offsets 3 to 9")]
