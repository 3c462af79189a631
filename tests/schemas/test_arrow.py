"""The native format: what is encoded comes back, joined or one by one, and a bad message stands alone."""

from __future__ import annotations

import io
import random
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas import arrow
from schemas.admission import admit
from schemas.arrow_stream import END, read_batch_head
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.message import Message
from schemas.meter import METER
from schemas.rejected import REJECTED
from tests.bad_input.cases import gpu_rows, meter_rows, mutant, stream

TOPIC = "telemetry.gpu.v1"
NOW = 1_767_225_600_000_000
NATIVE = tuple(arrow.headers(GPU))


def message(value: bytes, offset: int = 0, partition: int = 3, headers: Any = NATIVE) -> Message:
    return Message(TOPIC, partition, offset, NOW, b"k", value, headers)


def native(rows: int, offset: int = 0) -> Message:
    return message(arrow.encode(GPU, gpu_rows(NOW, rows)), offset)


def records(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(list(GPU.polars))


@pytest.mark.parametrize("rows", [0, 1, 46, 10_000])
def test_what_is_encoded_comes_back(rows: int) -> None:
    decoded = decode(TOPIC, [native(rows, offset=7)], None)
    assert_frame_equal(records(decoded.frame), gpu_rows(NOW, rows))
    assert decoded.refused["reason"].to_list() == ([] if rows else ["empty"])
    assert decoded.frame["_row"].to_list() == list(range(rows))
    assert set(decoded.frame["_offset"]) <= {7}
    assert decoded.frame["_name"].null_count() == rows


def test_text_and_bytes_come_back_too() -> None:
    frame = pl.DataFrame(
        [("t", 1, 2, 3, "empty", None, "x", "ü", 5, 1, b"\xff\0")], schema=REJECTED.polars, orient="row"
    )
    told = Message("telemetry.rejected.v1", 0, 0, NOW, None, arrow.encode(REJECTED, frame), ())
    told = told._replace(headers=tuple(arrow.headers(REJECTED)))
    assert_frame_equal(decode(told.topic, [told], None).frame.select(list(REJECTED.polars)), frame)


numbers = {
    pl.Int8: st.integers(-(2**7), 2**7 - 1),
    pl.Int16: st.integers(-(2**15), 2**15 - 1),
    pl.Int32: st.integers(-(2**31), 2**31 - 1),
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.Float32: st.floats(width=32, allow_nan=False),
    pl.Float64: st.floats(allow_nan=False),
    pl.Datetime("us"): st.integers(-(2**62), 2**62),
}
meter_row = st.tuples(*(st.none() | numbers[dtype] for dtype in METER.polars.values()))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(meter_row, max_size=5), min_size=1, max_size=6))
def test_any_values_come_back_and_joined_is_as_one_by_one(batches: list[list[tuple]]) -> None:
    frames = [pl.DataFrame(rows, schema=METER.polars, orient="row") for rows in batches]
    headers = tuple(arrow.headers(METER))
    told = [
        Message("telemetry.power.v1", 1, index, NOW, b"k", arrow.encode(METER, frame), headers)
        for index, frame in enumerate(frames)
    ]
    joined = decode("telemetry.power.v1", told, None)
    assert joined.refused["offset"].to_list() == [at for at, frame in enumerate(frames) if frame.is_empty()]
    assert_frame_equal(joined.frame.select(list(METER.polars)), pl.concat(frames))
    one_by_one = [decode("telemetry.power.v1", [each], None).frame for each in told]
    assert_frame_equal(joined.frame, pl.concat(one_by_one))


def test_rows_keep_the_order_of_messages_in_whichever_format_they_came() -> None:
    line = b'{"time":%d,"rack":1,"node":1,"gpu":0}' % NOW
    told = [native(3, 0), message(line, 1, headers=()), native(2, 2), message(line + b"\n" + line, 3, headers=())]
    frame = decode(TOPIC, told, None).frame
    assert frame.select("_offset", "_row").rows() == [
        (0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)
    ]  # fmt: skip


def other_writers() -> dict[str, bytes]:
    """Return the same 46 readings as other writers of Arrow would send them."""
    frame = gpu_rows(NOW, 46)
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(GPU.arrow)
    measured = [name for name in frame.columns if frame[name].null_count() < 46]
    target = io.BytesIO()
    with pa.ipc.new_stream(target, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=10):
            writer.write_batch(batch)
    return {
        "pyarrow": stream(frame, GPU.arrow),
        "columns in another order": stream(frame.select(sorted(frame.columns))),
        "only what is measured": stream(frame.select(measured)),
        "metadata of its own": stream(frame, GPU.arrow.with_metadata({"made by": "somebody"})),
        "64-bit integers": stream(frame.cast({pl.Int32: pl.Int64, pl.Int16: pl.Int64})),
        "unsigned integers": stream(frame.cast({"rack": pl.UInt32, "node": pl.UInt64, "gpu": pl.UInt8})),
        "64-bit floats": stream(frame.cast({pl.Float32: pl.Float64})),
        "times with a zone": stream(frame.with_columns(pl.col("time").dt.replace_time_zone("UTC"))),
        "times in milliseconds": stream(frame.cast({"time": pl.Datetime("ms")})),
        "times in nanoseconds": stream(frame.cast({"time": pl.Datetime("ns")})),
        "columns of nothing": stream(frame.with_columns(pl.lit(None).alias("vendor"))),
        "zstd inside": stream(frame, GPU.arrow, "zstd"),
        "lz4 inside": stream(frame, GPU.arrow, "lz4"),
        "several batches": target.getvalue(),
    }


@pytest.mark.parametrize("writer", list(other_writers()))
def test_other_writers_are_read_where_nothing_is_lost(writer: str) -> None:
    decoded = decode(TOPIC, [native(2, 0), message(other_writers()[writer], 1), native(2, 2)], None)
    assert decoded.refused.is_empty()
    theirs = decoded.frame.filter(pl.col("_offset") == 1)
    assert_frame_equal(records(theirs), gpu_rows(NOW, 46))
    assert theirs["_row"].to_list() == list(range(46))


def test_mutants_raise_nothing_and_harm_no_neighbour() -> None:
    """500 mutants, each between good messages, 50 in each call; the seed is fixed, so a failure comes again."""
    source = random.Random(20260101)
    writers = other_writers()
    originals = [native(46).value, *(writers[name] for name in ("pyarrow", "zstd inside", "lz4 inside"))]
    good = gpu_rows(NOW, 46)
    for _ in range(10):
        told = [native(46, offset) for offset in range(101)]
        for offset in range(1, 101, 2):
            told[offset] = message(mutant(source, source.choice(originals)), offset)
        decoded = decode(TOPIC, told, None)
        admit(GPU, decoded.frame, None, clock="wall")
        kept = decoded.frame.filter(pl.col("_offset") % 2 == 0)
        assert_frame_equal(records(kept), pl.concat([good] * 51))
        heard_of = set(decoded.frame["_offset"]) | set(decoded.refused["offset"])
        assert heard_of == set(range(101))


def test_mutants_of_text_raise_nothing_and_hold_together() -> None:
    """Text has offsets and UTF-8 to get wrong: what is read of 100 mutants is valid Arrow."""
    source = random.Random(20260102)
    row = ("t", 1, 2, 3, "empty", None, "välue", "a sentence", NOW, 1, b"\xff\0")
    schema = REJECTED.polars | {"appended": pl.Int64}
    frame = pl.DataFrame([row] * 40, schema=schema, orient="row").cast({"appended": pl.Datetime("us")})
    value, headers = arrow.encode(REJECTED, frame), tuple(arrow.headers(REJECTED))
    good = Message("telemetry.rejected.v1", 0, 0, NOW, None, value, headers)
    for _ in range(10):
        mutants = [good._replace(offset=1 + each, value=mutant(source, value)) for each in range(10)]
        decoded = decode(good.topic, [good, *mutants], None)
        decoded.frame.to_arrow(compat_level=pl.CompatLevel.oldest()).validate(full=True)
        kept = decoded.frame.filter(pl.col("_offset") == 0).select(list(REJECTED.polars))
        assert_frame_equal(kept, frame)


def test_a_joined_message_that_fails_only_on_reading_costs_no_neighbour() -> None:
    """The head of the middle one is good, its list of buffers is not: all are joined, then looked at alone."""
    value = bytearray(native(46).value or b"")
    header = len(arrow.known_headers(GPU)[0])
    value[header + 1008 : header + 1016] = (2**40).to_bytes(8, "little")
    head = read_batch_head(bytes(value), header)
    assert head is not None
    assert head.end == len(value) - len(END)
    told = [native(46, 0), message(bytes(value), 1), native(46, 2)]
    decoded = decode(TOPIC, told, None)
    assert decoded.frame.height == 92
    assert decoded.refused.select("offset", "reason").rows() == [(1, "not_arrow")]


def test_meters_are_read_by_the_same_code() -> None:
    told = Message("telemetry.power.v1", 0, 0, NOW, b"k", arrow.encode(METER, meter_rows(NOW, 5)), ())
    told = told._replace(headers=tuple(arrow.headers(METER)))
    assert_frame_equal(decode(told.topic, [told], None).frame.select(list(METER.polars)), meter_rows(NOW, 5))
