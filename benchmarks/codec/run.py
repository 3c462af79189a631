"""What decoding and admission cost: CPU time a message, a row, a line; one JSON line a figure.

Run with `python benchmarks/codec/run.py` from the repository. Each figure is the least of several runs, as
the machine's other work only ever adds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from schemas import arrow
from schemas.admission import admit
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.message import Message

TOPIC = "telemetry.gpu.v1"
APPENDED = 1_767_225_600_000_000
RUNS = 15


def readings(rows: int, seed: int = 1) -> pl.DataFrame:
    """Return GPU readings as a collector makes them: no MIG, one vendor, all else measured."""
    random = np.random.default_rng(seed)
    whole = np.arange(rows, dtype=np.int32)
    measured = {
        "power_watts": 1000,
        "power_limit_watts": 1200,
        "utilization_fraction": 1,
        "encoder_fraction": 1,
        "decoder_fraction": 1,
        "memory_used_bytes": 2e11,
        "temperature_celsius": 90,
        "memory_temperature_celsius": 90,
        "sm_clock_mhz": 2000,
        "energy_joules": 1e10,
        "interval_seconds": 1,
    }
    frame = pl.DataFrame({"rack": whole % 1337, "node": whole // 8, "gpu": whole % 8})
    frame = frame.with_columns(time=pl.lit(APPENDED).cast(pl.Datetime("us")), averaging=0, vendor=1, model=2)
    frame = frame.with_columns(pl.Series(name, random.random(rows) * high) for name, high in measured.items())
    columns = [
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in GPU.polars.items()
    ]
    return frame.select(columns)


def messages(count: int, rows: int) -> list[Message]:
    headers = tuple(arrow.headers(GPU))
    return [
        Message(TOPIC, index % 16, index, APPENDED, b"k", arrow.encode(GPU, readings(rows, index)), headers)
        for index in range(count)
    ]


def json_lines(count: int) -> list[Message]:
    place = b'"rack":"ruh/h1/r04/k17","node":"ruh/h1/r04/k17/n03","gpu":1'
    line = b'{"time":"2026-01-01T00:00:00Z",' + place + b',"power_watts":701.5}'
    return [Message(TOPIC, 0, index, APPENDED, b"k", line) for index in range(count)]


def least_cpu_secs(work: Callable[[], object]) -> float:
    """Return the least CPU time of RUNS runs, all threads of the process counted."""
    found = []
    for _ in range(RUNS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def tell(name: str, value: float, unit: str, bar: float) -> None:
    print(json.dumps({"name": name, "value": round(value, 3), "unit": unit, "bar": bar, "pass": value <= bar}))


def main() -> None:
    for rows, count, bar in ((46, 1337, 13.0), (350, 200, 40.0), (2000, 50, 150.0)):
        batch = messages(count, rows)
        cost = least_cpu_secs(lambda batch=batch: decode(TOPIC, batch, None)) / count
        tell(f"decode_message_of_{rows}_rows", cost * 1e6, "CPU µs a message", bar)
    frame = readings(46)
    cost = least_cpu_secs(lambda: [arrow.encode(GPU, frame) for _ in range(200)]) / 200
    tell("encode_message_of_46_rows", cost * 1e6, "CPU µs a message", 60.0)
    lines = json_lines(2000)
    tell("decode_json_line", least_cpu_secs(lambda: decode(TOPIC, lines, None)) / 2000 * 1e6, "CPU µs a line", 25.0)
    decoded = decode(TOPIC, messages(500, 2000), None).frame
    tell("admit_million_rows", least_cpu_secs(lambda: admit(GPU, decoded, None, clock="wall")), "CPU s", 0.1)
    worst = decoded.with_columns(power_watts=pl.when(pl.col("_row") == 7).then(None).otherwise("power_watts"))
    worst = worst.with_columns(gpu=pl.when(pl.col("_row") == 9).then(-1).otherwise("gpu").cast(pl.Int32))
    tell("admit_million_rows_500_bad", least_cpu_secs(lambda: admit(GPU, worst, None, clock="wall")), "CPU s", 0.5)


if __name__ == "__main__":
    main()
