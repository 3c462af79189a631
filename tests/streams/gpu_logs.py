"""Messages of GPU readings as they come from any writer, good ones and bad ones, for property tests."""

from __future__ import annotations

import io

import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

from schemas import arrow
from schemas.gpu import GPU
from schemas.message import Message
from schemas.timeline import EVER, FOREVER, Epoch
from tests.streams.log import GPUS, RACKS, SECOND, START, meters, slots

GPU_TOPIC = "telemetry.gpu.v1"
APPENDED = START * SECOND + 500_000
HEADERS = tuple(arrow.headers(GPU))


class Known:
    """A registry of the slots of tests.streams.log, each of 700 W."""

    slots = slots()
    meters = meters()
    limits = pl.DataFrame(schema={"kind": pl.Int8, "id": pl.Int32, "limit": pl.String, "watts": pl.Float64})


class Always:
    """A timeline in which one registry is in force for ever."""

    places = None

    def __init__(self, registry):
        self.newest = registry

    def between(self, first, end):
        return (Epoch(EVER, FOREVER, self.newest),)


REGISTRY = Known()
TIMELINE = Always(REGISTRY)
GOOD = {
    "time": START * SECOND + 100, "rack": 1, "node": 10, "gpu": 0, "instance": None, "vendor": 1, "model": 2,
    "power_watts": 512.34, "power_limit_watts": 700.0, "utilization_fraction": 0.87654, "encoder_fraction": 0.0,
    "decoder_fraction": 1.0, "memory_used_bytes": 7, "temperature_celsius": 61.25, "memory_temperature_celsius": -3.0,
    "sm_clock_mhz": 1_980.0, "throttle_reasons": -1, "energy_joules": 1e9 + 0.5, "interval_seconds": 1.0,
    "averaging": 1,
}  # fmt: skip


def frame_of(readings):
    columns = {name: [(GOOD | reading)[name] for reading in readings] for name in GPU.polars}
    physical = {name: pl.Int64 if name == "time" else dtype for name, dtype in GPU.polars.items()}
    return pl.DataFrame(columns, schema=physical).cast(GPU.polars)


def by_polars(frame):
    return arrow.encode(GPU, frame)


def by_pyarrow(frame):
    target = io.BytesIO()
    with pa.ipc.new_stream(target, GPU.arrow) as writer:
        for batch in frame.to_arrow().cast(GPU.arrow).combine_chunks().to_batches():
            writer.write_batch(batch)
    return target.getvalue()


def message(value, partition=0, offset=0, headers=HEADERS, appended=APPENDED):
    return Message(GPU_TOPIC, partition, offset, appended, b"k", value, headers)


floats = st.one_of(st.none(), st.floats(width=32), st.floats(0, 1, width=32), st.floats(0, 1_500, width=32))
changes = st.fixed_dictionaries(
    {},
    optional={
        "time": st.sampled_from((0, START * SECOND, START * SECOND + 999_999, APPENDED + 5_000_001, None)),
        "rack": st.integers(-1, RACKS + 1),
        "node": st.sampled_from((10, 11, 20, 31, -7, 999_999, 2**31 - 1)),
        "gpu": st.sampled_from((*range(GPUS), 9, 1_023, 1_024, -1)),
        "instance": st.sampled_from((None, 0, 255, 256, -1)),
        "vendor": st.none(),
        "averaging": st.sampled_from((None, 0, 1, 2)),
        "memory_used_bytes": st.sampled_from((None, 0, -1, 2**63 - 1)),
        "energy_joules": st.one_of(st.none(), st.floats(), st.floats(0, 1e15)),
        **{name: floats for name in GPU.polars if name.endswith(("watts", "fraction", "celsius", "mhz", "_seconds"))},
    },
)
good_changes = st.fixed_dictionaries(
    {},
    optional={
        "node": st.sampled_from((10, 11)),
        "gpu": st.integers(0, GPUS - 1),
        "power_watts": st.one_of(st.none(), st.floats(0, 1_400, width=32)),
        "utilization_fraction": st.one_of(st.none(), st.floats(0, 1, width=32)),
        "temperature_celsius": st.one_of(st.none(), st.floats(-60, 200, width=32)),
        "energy_joules": st.one_of(st.none(), st.floats(0, 1e15)),
        "instance": st.sampled_from((None, 3)),
    },
)
writers = st.sampled_from((by_polars, by_pyarrow))


@st.composite
def logs(draw, readings):
    values = [
        draw(writers)(frame_of(draw(st.lists(readings, min_size=1, max_size=9))))
        for _ in range(draw(st.integers(1, 5)))
    ]
    partitions = sorted(draw(st.lists(st.integers(0, 2), min_size=len(values), max_size=len(values))))
    return [
        message(value, number, offset) for offset, (value, number) in enumerate(zip(values, partitions, strict=True))
    ]
