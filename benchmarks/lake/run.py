"""What the lake writer costs: GPU rows from the bytes of Kafka's messages to durable, committed Parquet.

Prints one JSON line a figure. No Kafka runs here: the messages are the bytes that its consumer hands over.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
import polars as pl

from schemas.arrow import encode, headers
from schemas.gpu import GPU
from schemas.message import Message
from sinks.lake.flush import Flushed, Tables
from sinks.lake.positions import Source

SECONDS = 10
GPUS = 62_100
PARTITIONS = 16
FLUSHES = 5
START = 1_772_366_400_000_000
VALUES = 17
"""Columns of a reading that carry values here; place in the log and nulls are not counted."""

BARS = {2_000: 3_000_000}
"""Rows a CPU-second that must hold, by rows a message."""

Pending = dict[Source, list[Message]]


class Campus:
    """Make ten seconds of a campus at a time, as messages; values move as real ones do."""

    def __init__(self, rows_per_message: int) -> None:
        self.chance = np.random.default_rng(7)
        self.rows = rows_per_message
        self.level = self.chance.uniform(300, 1_100, GPUS)
        self.energy = self.chance.integers(10**9, 10**10, GPUS).astype(np.float64)
        self.jitter = np.repeat(self.chance.integers(0, 1_000, GPUS // rows_per_message + 1), rows_per_message)[:GPUS]
        self.second = 0
        self.offsets = [0] * PARTITIONS

    def flush_worth(self) -> Pending:
        """Return the messages of the next ten seconds by partition."""
        pending: Pending = {Source("telemetry.gpu.v1", number): [] for number in range(PARTITIONS)}
        for _ in range(SECONDS):
            for number, frame in enumerate(self._readings().iter_slices(self.rows)):
                partition = number % PARTITIONS
                pending[Source("telemetry.gpu.v1", partition)].append(self._message(partition, frame))
            self.second += 1
        return pending

    def _readings(self) -> pl.DataFrame:
        slots = np.arange(GPUS)
        power = np.round(self.level + self.chance.normal(0, 8, GPUS), 1)
        self.energy += power
        given = pl.DataFrame(
            {
                "time": START + self.second * 1_000_000 + self.jitter * 1_000,
                "rack": slots // 72 + 1,
                "node": slots // 4 + 1,
                "gpu": slots % 4,
                "vendor": np.ones(GPUS),
                "model": np.ones(GPUS),
                "power_watts": power,
                "power_limit_watts": np.full(GPUS, 1_200.0),
                "utilization_fraction": np.round(
                    np.clip(self.level / 1_100 + self.chance.normal(0, 0.01, GPUS), 0, 1), 2
                ),
                "memory_used_bytes": (self.level * 1e8).astype(np.int64) >> 21 << 21,
                "temperature_celsius": np.round(45 + self.level / 40 + self.chance.normal(0, 0.5, GPUS)),
                "memory_temperature_celsius": np.round(55 + self.level / 40 + self.chance.normal(0, 0.5, GPUS)),
                "sm_clock_mhz": 1_980.0 - 15 * self.chance.integers(0, 4, GPUS),
                "throttle_reasons": np.where(self.chance.random(GPUS) < 0.02, 4, 0),
                "energy_joules": np.round(self.energy),
                "interval_seconds": np.ones(GPUS),
                "averaging": np.zeros(GPUS),
            }
        )
        nulls = (pl.lit(None).alias(name) for name in GPU.polars if name not in given.columns)
        return given.with_columns(*nulls).select(pl.col(name).cast(dtype) for name, dtype in GPU.polars.items())

    def _message(self, partition: int, frame: pl.DataFrame) -> Message:
        offset = self.offsets[partition]
        self.offsets[partition] += 1
        appended = START + self.second * 1_000_000 + 1_020_000
        return Message(
            "telemetry.gpu.v1", partition, offset, appended, b"rack", encode(GPU, frame), tuple(headers(GPU))
        )


def measure(rows_per_message: int) -> tuple[Flushed, float]:
    """Return what all flushes but the first wrote, and the CPU seconds of all threads that they took."""
    campus = Campus(rows_per_message)
    total, spent = Flushed(0, 0, 0), 0.0
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(Path(folder), "event")
        for number in range(FLUSHES + 1):
            pending = campus.flush_worth()
            before = cpu_seconds()
            flushed = tables.flush(pending, None)
            if number:  # the first one warms up
                spent += cpu_seconds() - before
                total = Flushed(*(a + b for a, b in zip(total, flushed, strict=True)))
    return total, spent


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, in user and kernel."""
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def report(name: str, value: float, unit: str, bar: float | None = None, *, is_least: bool = True) -> None:
    """Print one figure; `bar` is the least allowed, or the most."""
    line: dict[str, object] = {"name": name, "value": round(value, 4), "unit": unit}
    if bar is not None:
        line |= {"bar": bar, "pass": value >= bar if is_least else value <= bar}
    print(json.dumps(line), flush=True)


def main() -> None:
    started = time.monotonic()
    for rows_per_message in (2_000, 350, 46):
        total, spent = measure(rows_per_message)
        name = f"lake: bytes to committed Parquet, {rows_per_message} rows a message"
        report(name, total.rows / spent, "GPU rows/CPU-second", BARS.get(rows_per_message))
        report(f"lake: flush file, {rows_per_message} rows a message", total.size / total.rows, "bytes/row")
        report(f"lake: flush file, {rows_per_message} rows a message", total.size / total.rows / VALUES, "bytes/value")
    report("lake: benchmark", time.monotonic() - started, "s")


if __name__ == "__main__":
    main()
