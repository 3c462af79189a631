"""Bad messages, one of each kind that Kafka lets through, with what must be said of them and what must survive.

`cases(now)` is the table; tests/bad_input/test_cases.py holds decoding and admission to it, and
tests/bad_input/test_pipeline.py sends all of it into a running pipeline.
"""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import pyarrow as pa

from schemas import arrow
from schemas.column import Record
from schemas.gpu import GPU
from schemas.meter import METER

Headers = tuple[tuple[str, bytes], ...]

RACK, NODE = "ruh/h1/r04/k17", "ruh/h1/r04/k17/n03"
GPU_TOPIC, POWER_TOPIC = "telemetry.gpu.v1", "telemetry.power.v1"
JOBS_TOPIC, PROGRESS_TOPIC = "telemetry.jobs.v1", "telemetry.progress.v1"
JSON: Headers = ()
HTML: Headers = (("content-type", b"text/html"),)


@dataclass(frozen=True)
class Case:
    """Describe one bad message: the refusals that it must give, and how many good rows it must not cost.

    `row` is the refused row or line, −1 the whole message; `field` None where no single one is at fault.
    """

    name: str
    topic: str
    value: bytes | None
    reason: str
    field: str | None = None
    row: int = -1
    good: int = 0
    key: bytes = b"k"
    headers: Headers = JSON


def cases(now: int) -> list[Case]:
    """Return all cases; good rows are of the time `now` (UTC µs)."""
    return [*_arrow_messages(now), *_arrow_columns(now), *_arrow_rows(now), *_json_lines(now), *_jobs(now)]


def native(record: Record) -> Headers:
    return tuple(arrow.headers(record))


def gpu_rows(now: int, count: int) -> pl.DataFrame:
    """Return `count` good GPU readings of distinct slots."""
    index = pl.int_range(count, eager=True, dtype=pl.Int32)
    frame = pl.DataFrame({"rack": index * 0 + 1, "node": index // 8 + 1, "gpu": index % 8})
    frame = frame.with_columns(
        time=pl.lit(now).cast(pl.Datetime("us")),
        power_watts=pl.lit(700.5, pl.Float32),
        utilization_fraction=pl.lit(0.5, pl.Float32),
        energy_joules=pl.lit(1e6),
    )
    return pl.concat([GPU.empty(), frame], how="diagonal")


def meter_rows(now: int, count: int) -> pl.DataFrame:
    """Return `count` good meter readings of distinct meters."""
    frame = pl.DataFrame({"meter": pl.int_range(1, count + 1, eager=True, dtype=pl.Int32)})
    frame = frame.with_columns(
        time=pl.lit(now).cast(pl.Datetime("us")), phase=pl.lit(0, pl.Int8), power_watts=pl.lit(60_000.5)
    )
    return pl.concat([METER.empty(), frame], how="diagonal")


def stream(frame: pl.DataFrame, schema: pa.Schema | None = None, compression: str | None = None) -> bytes:
    """Return an Arrow stream as pyarrow writes it, of any schema."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    if schema is not None:
        table = table.cast(schema)
    target = io.BytesIO()
    with pa.ipc.new_stream(target, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return target.getvalue()


def mutant(source: random.Random, value: bytes) -> bytes:
    """Return `value` with a few bytes flipped, overwritten, cut out or put in, most often in its metadata."""
    torn = bytearray(value)
    kind = source.random()
    for _ in range(source.choice([1, 1, 1, 2, 4, 16])):
        at = source.randrange(source.choice([len(torn), min(len(torn), 2600)]))
        if kind < 0.5:
            torn[at] ^= 1 << source.randrange(8)
        elif kind < 0.7:
            torn[at] = source.choice([0, 255, 127, 128])
        elif kind < 0.8:
            torn[at : at + 8] = source.choice([b"\xff" * 8, bytes(8), (2**62).to_bytes(8, "little")])
        elif kind < 0.9:
            del torn[at : at + source.choice([1, 4, 8, 64])]
        else:
            torn[at:at] = source.randbytes(source.choice([1, 8, 64]))
    return bytes(torn)


def _gpu_arrow(name: str, value: bytes | None, reason: str, field: str | None = None, **more: Any) -> Case:
    return Case(name, GPU_TOPIC, value, reason, field, headers=more.pop("headers", native(GPU)), **more)


def _arrow_messages(now: int) -> list[Case]:
    whole = arrow.encode(GPU, gpu_rows(now, 46))
    return [
        _gpu_arrow("an empty message", b"", "empty"),
        _gpu_arrow("a tombstone where readings should be", None, "empty"),
        _gpu_arrow("a batch without a row", arrow.encode(GPU, GPU.empty()), "empty"),
        _gpu_arrow("noise", bytes(range(256)) * 4, "not_arrow"),
        _gpu_arrow("zeros", bytes(1000), "not_arrow"),
        _gpu_arrow("a message cut off in its body", whole[:-300], "not_arrow"),
        _gpu_arrow("a message cut off in its schema", whole[:100], "not_arrow"),
        _gpu_arrow("a stream without its end", whole[:-8], "not_arrow"),
        _gpu_arrow("bytes after the end of the stream", whole + b"more", "not_arrow"),
        _gpu_arrow("two streams in one message", whole + whole, "not_arrow"),
        _gpu_arrow("a length of two gigabytes", b"\xff\xff\xff\xff\xff\xff\xff\x7f" + whole[8:], "not_arrow"),
        _gpu_arrow("JSON under the header of Arrow", b'{"gpu": 1}', "not_arrow"),
        _gpu_arrow("Arrow that expands past what its topic takes", _expanding(now), "too_large"),
        _gpu_arrow("a format that nobody reads", b"<html/>", "unknown_format", headers=HTML),
        _gpu_arrow("Arrow without its header", whole, "not_json", headers=JSON),
    ]


def _expanding(now: int) -> bytes:
    """Return 250,000 rows, 25 MB once decoded, in a few kB of compressed Arrow."""
    return stream(gpu_rows(now, 250_000), compression="zstd")


def _arrow_columns(now: int) -> list[Case]:
    rows = gpu_rows(now, 46)
    text = rows.with_columns(pl.col("power_watts").cast(pl.String))
    doubled = rows.to_arrow().append_column("gpu", rows["gpu"].to_arrow())
    target = io.BytesIO()
    with pa.ipc.new_stream(target, doubled.schema) as writer:
        writer.write_table(doubled)
    paths = rows.with_columns(rack=pl.lit(RACK, pl.Categorical))
    lying = (("content-type", arrow.CONTENT_TYPE), ("schema", b"telemetry.gpu/2"))
    return [
        _gpu_arrow("a column that nobody knows", stream(rows.with_columns(watts=1)), "wrong_schema", "watts"),
        _gpu_arrow("a column misspelt", stream(rows.rename({"node": "nod"})), "wrong_schema", "nod"),
        _gpu_arrow("a needed column left out", stream(rows.drop("node")), "wrong_schema", "node"),
        _gpu_arrow("power as text", stream(text), "wrong_schema", "power_watts"),
        _gpu_arrow("a slot as a float", stream(rows.cast({"gpu": pl.Float64})), "wrong_schema", "gpu"),
        _gpu_arrow("racks as a dictionary of paths", stream(paths), "wrong_schema", "rack"),
        _gpu_arrow("one column twice", target.getvalue(), "wrong_schema", "gpu"),
        _gpu_arrow("meters on the topic of GPUs", arrow.encode(METER, meter_rows(now, 3)), "wrong_schema", "meter"),
        _gpu_arrow("a version that is not this topic's", arrow.encode(GPU, rows), "wrong_schema", headers=lying),
    ]


def _one_bad(now: int, name: str, why: tuple[str, str], value: pl.Expr, of: int = 46) -> Case:
    reason, field = why
    rows = gpu_rows(now, of).with_row_index("at")
    bad = pl.when(pl.col("at") == of // 2).then(value).otherwise(pl.col(field)).cast(GPU.polars[field])
    encoded = arrow.encode(GPU, rows.with_columns(bad.alias(field)).drop("at"))
    return _gpu_arrow(name, encoded, reason, field, row=of // 2, good=of - 1)


def _arrow_rows(now: int) -> list[Case]:
    ahead = pl.lit(now + 3_600_000_000).cast(pl.Datetime("us"))
    nan, infinity = pl.lit(float("nan")), pl.lit(float("inf"))
    precise = gpu_rows(now, 3).with_columns(
        time=(pl.Series([now * 1000, now * 1000 + 1, now * 1000]).cast(pl.Datetime("ns")))
    )
    wide = gpu_rows(now, 3).with_columns(rack=pl.Series([1, 2**40, 1], dtype=pl.Int64))
    return [
        _one_bad(now, "one NaN in a batch of 2,000", ("not_a_number", "power_watts"), nan, of=2000),
        _one_bad(now, "an infinite energy", ("not_a_number", "energy_joules"), infinity),
        _one_bad(now, "a negative power", ("out_of_range", "power_watts"), pl.lit(-42.0)),
        _one_bad(now, "a power of a gigawatt", ("out_of_range", "power_watts"), pl.lit(1e9)),
        _one_bad(now, "a utilization in percent", ("out_of_range", "utilization_fraction"), pl.lit(97.0)),
        _one_bad(now, "a sentinel for blank", ("out_of_range", "temperature_celsius"), pl.lit(2147483632.0)),
        _one_bad(now, "a negative slot", ("out_of_range", "gpu"), pl.lit(-1)),
        _one_bad(now, "a negative memory", ("out_of_range", "memory_used_bytes"), pl.lit(-1)),
        _one_bad(now, "a reading without its node", ("missing_field", "node"), pl.lit(None)),
        _one_bad(now, "a reading without its time", ("missing_field", "time"), pl.lit(None)),
        _one_bad(now, "a time in milliseconds", ("bad_time", "time"), pl.lit(now // 1000).cast(pl.Datetime("us"))),
        _one_bad(
            now, "a time before there were clocks", ("bad_time", "time"), pl.lit(-(2**62)).cast(pl.Datetime("us"))
        ),
        _one_bad(now, "a time that no calendar has", ("bad_time", "time"), pl.lit(2**63 - 1).cast(pl.Datetime("us"))),
        _one_bad(
            now,
            "an hour ahead of the clock",
            ("clock_ahead", "time"),
            ahead,
        ),
        _gpu_arrow("a time finer than is kept", stream(precise), "bad_time", "time", row=1, good=2),
        _gpu_arrow("an id wider than ids are", stream(wide), "out_of_range", "rack", row=1, good=2),
    ]


def _line(now: int, **fields: Any) -> dict[str, Any]:
    return {"time": now, "meter": f"{RACK}/a", "phase": 0, "power_watts": 60_000.5} | fields


def _json(now: int, name: str, line: bytes | dict[str, Any], reason: str, field: str | None = None) -> Case:
    """Return a bad line between two good ones."""
    bad = line if isinstance(line, bytes) else json.dumps(line).encode()
    good = [json.dumps(_line(now + second)).encode() for second in (0, 1)]
    return Case(name, POWER_TOPIC, b"\n".join([good[0], bad, good[1]]), reason, field, row=1, good=2)


def _json_lines(now: int) -> list[Case]:
    deep = b"[" * 50_000
    start = f'{{"time":{now},"meter":"{RACK}/a",'.encode()
    without = {name: value for name, value in _line(now).items() if name != "meter"}
    elsewhere = {"time": now, "rack": RACK, "node": "ruh/h1/r04/k18/n03", "gpu": 0}
    return [
        _json(now, "words", b"power is fine", "not_json"),
        _json(now, "an object cut off", start + b'"power_w', "not_json"),
        _json(now, "an array", b'[{"time": 1}]', "not_json"),
        _json(now, "arrays in arrays without end", start + b'"power_watts":' + deep, "wrong_type", "power_watts"),
        _json(now, "objects in objects without end", b'{"a":' * 50_000, "unknown_field", "a"),
        _json(now, "NaN", start + b'"power_watts":NaN}', "not_a_number", "power_watts"),
        _json(now, "Infinity", start + b'"power_watts":-Infinity}', "not_a_number", "power_watts"),
        _json(now, "a number that no double holds", start + b'"power_watts":1e999}', "out_of_range", "power_watts"),
        _json(now, "a byte order mark", b"\xef\xbb\xbf" + start + b'"power_watts":1}', "not_json"),
        _json(now, "bytes that are no UTF-8", b'{"time":1,"meter":"\xff\xfe"}', "not_json"),
        _json(now, "half of a surrogate pair", start.replace(b"ruh", b"\\ud800") + b'"phase":0}', "not_json"),
        _json(now, "a field twice", start + b'"power_watts":1,"power_watts":2}', "not_json", "power_watts"),
        _json(now, "a field misspelt", start + b'"power_wats":1}', "unknown_field", "power_wats"),
        _json(now, "no meter", without, "missing_field", "meter"),
        _json(now, "a number as text", _line(now, power_watts="60"), "wrong_type", "power_watts"),
        _json(now, "true for a number", _line(now, power_watts=True), "wrong_type", "power_watts"),
        _json(now, "null for the meter", _line(now, meter=None), "wrong_type", "meter"),
        _json(now, "a phase of 300", _line(now, phase=300), "out_of_range", "phase"),
        _json(now, "a negative power in JSON", _line(now, power_watts=-1), "out_of_range", "power_watts"),
        _json(now, "10^23 as a time", _line(10**23), "bad_time", "time"),
        _json(now, "a time in seconds", _line(now // 1_000_000), "bad_time", "time"),
        _json(now, "a time without a zone", _line(now, time="2026-01-01T00:00:00"), "bad_time", "time"),
        _json(now, "no time at all", _line(now, time="yesterday"), "bad_time", "time"),
        _json(now, "an id of 100 kB", _line(now, meter="x" * 100_000), "bad_path", "meter"),
        _json(now, "a path with capitals", _line(now, meter="RUH/H1"), "bad_path", "meter"),
        _json(now, "a path out of the house", _line(now, meter="../../etc/passwd"), "bad_path", "meter"),
        _json(now, "a path with an escape sequence", _line(now, meter="\x1b[2Jruh"), "bad_path", "meter"),
        _json(now, "an id of 64 bits", _line(now, meter=2**40), "bad_path", "meter"),
        Case("only blank lines", POWER_TOPIC, b"\n \r\n\n", "empty"),
        Case("more lines than a message may have", POWER_TOPIC, b"{}\n" * 20_001, "too_large"),
        Case("a node in another rack", GPU_TOPIC, json.dumps(elsewhere).encode(), "bad_path", "node", row=0),
    ]


def _job(now: int, name: str, reason: str, field: str | None = None, key: bytes = b"j1", **fields: Any) -> Case:
    job = {"job": "j1", "site": "ruh", "started": now} | fields
    return Case(name, JOBS_TOPIC, json.dumps(job).encode(), reason, field, row=0, key=key)


def _jobs(now: int) -> list[Case]:
    backwards = {"node": NODE, "gpu_first": 7, "gpu_last": 0}
    progress = replace(
        _job(now, "progress that runs backwards of zero", "out_of_range", "images"),
        topic=PROGRESS_TOPIC,
        value=json.dumps({"time": now, "job": "j1", "images": -5}).encode(),
    )
    return [
        _job(now, "a job under another job's key", "wrong_key", "job", key=b"j2"),
        _job(now, "a job that ended before it started", "bad_time", "ended", ended=now - 1),
        _job(now, "a job without a name", "wrong_type", "job", job=None),
        _job(now, "a job named with 100 kB", "bad_path", "job", job="x" * 100_000),
        _job(now, "a workload of no known kind", "out_of_range", "workload", workload="mining"),
        _job(now, "slots that run backwards", "out_of_range", "allocations[0].gpu_last", allocations=[backwards]),
        _job(now, "a job on no node", "bad_path", "allocations[0].node", allocations=[backwards | {"node": "N1"}]),
        Case("a job in words", JOBS_TOPIC, b"train all night", "not_json", row=0, key=b"j1"),
        Case("an empty job", JOBS_TOPIC, b"", "empty", key=b"j1"),
        progress,
        replace(progress, name="half a step", value=json.dumps({"time": now, "job": "j1", "steps": 0.5}).encode(),
                reason="wrong_type", field="steps"),
    ]  # fmt: skip
