"""CPU cost of the hot path in process: decode, admit, ring, closing. One JSON line a figure.

`python -m benchmarks.streams.in_process` measures GPU rows per CPU-second at 46, 350 and 2,000 rows a message, without
Kafka and Faust (they cost 60 to 170 µs a message more).
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import polars as pl

from schemas import arrow
from schemas.admission import admit
from schemas.decode import decode
from schemas.facility import load
from schemas.gpu import GPU
from schemas.message import Message
from schemas.partial import encode
from schemas.registry import Registry, assign
from streams.in_force import InForce
from streams.roll_up import GPU_TOPIC, RollUp

BARS = {46: 500_000, 350: 2_000_000, 2000: 4_000_000}
PARTITIONS = 16
SECONDS = 20
DRAIN_SECS = 1.0
"""A worker that has to catch up drains what came in a second and more at once."""
START = 1_700_000_000


def campus_second(slots: pl.DataFrame, second: int, random: np.random.Generator) -> pl.DataFrame:
    """Return one GPU reading of every slot, stamped within the second by rack as collectors do."""
    count = len(slots)
    offset = (slots["rack"].cast(pl.Int64) * 7919) % 1_000_000
    columns = {
        "time": ((START + second) * 1_000_000 + offset).cast(pl.Datetime("us")),
        "rack": slots["rack"],
        "node": slots["node"],
        "gpu": slots["gpu"],
        "instance": None,
        "vendor": slots["vendor"],
        "model": slots["model"],
        "power_watts": random.uniform(200, 1000, count).astype(np.float32),
        "power_limit_watts": pl.lit(1200.0),
        "utilization_fraction": random.uniform(0, 1, count).astype(np.float32),
        "encoder_fraction": None,
        "decoder_fraction": None,
        "memory_used_bytes": random.integers(0, 10**11, count),
        "temperature_celsius": random.uniform(30, 80, count).astype(np.float32),
        "memory_temperature_celsius": random.uniform(30, 80, count).astype(np.float32),
        "sm_clock_mhz": pl.lit(1900.0),
        "throttle_reasons": pl.lit(0),
        "energy_joules": random.uniform(0, 1e9, count),
        "interval_seconds": pl.lit(1.0),
        "averaging": pl.lit(1),
    }
    return slots.select(**{name: pl.lit(value) if value is None else value for name, value in columns.items()}).cast(
        GPU.polars
    )


def messages_of(slots: pl.DataFrame, rows_a_message: int) -> list[list[Message]]:
    """Return SECONDS seconds of a campus as drains of DRAIN_SECS, messages of one rack or several in order of time."""
    random, offsets, drains = np.random.default_rng(1), [0] * PARTITIONS, []
    ordered = slots.with_columns((pl.col("rack").cast(pl.Int64) * 7919 % 1_000_000).alias("at")).sort("at", "rack")
    headers = tuple(arrow.headers(GPU))
    for second in range(SECONDS):
        frame = campus_second(ordered.drop("at"), second, random)
        pending: dict[int, list[Message]] = {}
        part = frame["rack"].to_numpy() % PARTITIONS
        for number in range(PARTITIONS):
            mine = frame.filter(pl.Series(part == number))
            for start in range(0, len(mine), rows_a_message):
                rows = mine[start : start + rows_a_message]
                at = int(rows["time"].cast(pl.Int64)[-1])
                value = arrow.encode(GPU, rows)
                drain = int((at - START * 1_000_000) / (DRAIN_SECS * 1e6))
                pending.setdefault(drain, []).append(
                    Message(GPU_TOPIC, number, offsets[number], at, b"", value, headers)
                )
                offsets[number] += 1
        drains += [pending[drain] for drain in sorted(pending)]
    return drains


def measure(registry: Registry, rows_a_message: int) -> float:
    """Return rows per CPU-second from bytes to encoded partials."""
    drains = messages_of(registry.slots, rows_a_message)
    roll_up = RollUp(InForce.always(registry))
    for partition in range(PARTITIONS):
        roll_up.assign((GPU_TOPIC, partition), "", 0)
    rows, seconds = 0, 0.0
    for number, drain in enumerate(drains):
        began = time.process_time()
        decoded = decode(GPU_TOPIC, drain, registry)
        admitted = admit(GPU, decoded.frame, registry, clock="event")
        ends = {message.partition: message.offset + 1 for message in drain}
        for partial in roll_up.feed(GPU_TOPIC, admitted.rows, ends, 0):
            encode(partial)
        roll_up.places()
        if number > len(drains) // 4:  # the first drains make room and warm up
            seconds += time.process_time() - began
            rows += len(admitted.rows)
    return rows / seconds


def main() -> None:
    """Print one JSON line a message size."""
    registry = assign(load(Path("examples/halo-150mw.toml")))
    for rows_a_message, bar in BARS.items():
        value = measure(registry, rows_a_message)
        line = {"name": f"streams_in_process_{rows_a_message}_rows", "value": round(value), "unit": "rows/CPU-s"}
        print(json.dumps({**line, "bar": bar, "pass": value >= bar}), flush=True)


if __name__ == "__main__":
    main()
