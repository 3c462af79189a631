"""Logs of readings for the tests of streams: messages of admitted rows, played in any drains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import polars as pl

from schemas.partial import PARTIAL, Partial
from streams.in_force import InForce
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp

SECOND = 1_000_000
START = 1_700_000_000
"""A second to count from."""
RACKS, NODES, GPUS = 3, 2, 4


class Gpu(NamedTuple):
    """One admitted GPU reading; `at` in seconds after START."""

    at: float
    rack: int
    node: int
    gpu: int
    power: int | None
    utilization: int | None = 5_000
    temperature: float | None = 40.0
    instance: int | None = None
    energy: int | None = None


class Meter(NamedTuple):
    """One admitted meter reading; `at` in seconds after START."""

    at: float
    meter: int
    power: int | None
    interval: float | None = 1.0
    phase: int = 0
    current: int | None = None
    energy: int | None = None


def slots(nameplate: float | None = 700.0) -> pl.DataFrame:
    """Return the slots of RACKS racks (ids 1…) of NODES nodes (ids 10·rack + n) of GPUS GPUs."""
    rows = [(r, 10 * r + n, g, nameplate) for r in range(1, RACKS + 1) for n in range(NODES) for g in range(GPUS)]
    schema = {"rack": pl.Int32, "node": pl.Int32, "gpu": pl.Int32, "nameplate_watts": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def meters(intervals: Sequence[float | None] = (1.0, 2.0, None)) -> pl.DataFrame:
    """Return meters 1… with these registered intervals, each of the rack of its number."""
    return pl.DataFrame(
        {"meter": range(1, len(intervals) + 1), "interval_seconds": list(intervals)},
        schema={"meter": pl.Int32, "interval_seconds": pl.Float64},
    ).with_columns(subject_kind=pl.lit(4, pl.Int8), subject="meter")


NO_LIMITS = pl.DataFrame(schema={"kind": pl.Int8, "id": pl.Int32, "limit": pl.String, "watts": pl.Float64})


class Devices(NamedTuple):
    """The GPUs and meters of a facility that tests write down as frames."""

    slots: pl.DataFrame
    meters: pl.DataFrame
    limits: pl.DataFrame = NO_LIMITS


def always(slots: pl.DataFrame, meters: pl.DataFrame) -> InForce:
    """Return what stands where nothing ever changes."""
    return InForce.always(Devices(slots, meters))


def microseconds(at: float) -> int:
    """Return a time of the log in µs."""
    return START * SECOND + round(at * SECOND)


def gpu_frame(messages: Sequence[tuple[int, Sequence[Gpu]]], partition: int = 0) -> pl.DataFrame:
    """Return the admitted frame of numbered messages."""
    rows = [(partition, offset, microseconds(r.at), *r[1:]) for offset, readings in messages for r in readings]
    schema = {
        "_partition": pl.Int32,
        "_offset": pl.Int64,
        "time": pl.Int64,
        "rack": pl.Int32,
        "node": pl.Int32,
        "gpu": pl.Int32,
        "power_deciwatts": pl.Int32,
        "utilization_e4": pl.Int16,
        "temperature_celsius": pl.Float32,
        "instance": pl.Int16,
        "energy_whole_joules": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("time").cast(pl.Datetime("us")))


def meter_frame(messages: Sequence[tuple[int, Sequence[Meter]]], partition: int = 0) -> pl.DataFrame:
    """Return the admitted frame of numbered messages."""
    rows = [
        (partition, offset, microseconds(r.at), r.meter, r.phase, r.interval, r.power, r.current, r.energy)
        for offset, readings in messages
        for r in readings
    ]
    schema = {
        "_partition": pl.Int32,
        "_offset": pl.Int64,
        "time": pl.Int64,
        "meter": pl.Int32,
        "phase": pl.Int8,
        "interval_seconds": pl.Float32,
        "power_milliwatts": pl.Int64,
        "current_milliamps": pl.Int64,
        "energy_millijoules": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("time").cast(pl.Datetime("us")))


def play(
    log: Sequence[Sequence[Gpu]] | Sequence[Sequence[Meter]],
    cuts: Iterable[int] = (),
    *,
    roll_up: RollUp | None = None,
    first: int = 0,
    note: str = "",
    tells_pieces: bool = False,
) -> list[Partial]:
    """Feed a log from offset `first` on, cut into drains before each offset in `cuts`; return the partials.

    `tells_pieces`: after each drain, as the worker does, and not only where the log makes it.
    """
    is_meter = any(isinstance(reading, Meter) for message in log for reading in message)
    topic, frame = (METER_TOPIC, meter_frame) if is_meter else (GPU_TOPIC, gpu_frame)
    if roll_up is None:
        roll_up = RollUp(always(slots(), meters()))
    roll_up.assign((topic, 0), note, 0)
    bounds = sorted({first, len(log), *(cut for cut in cuts if first < cut < len(log))})
    partials: list[Partial] = []
    for start, end in pairwise(bounds):
        messages = [(offset, log[offset]) for offset in range(start, end)]
        partials += roll_up.feed(topic, frame(messages), {0: end}, 0)
        partials += chain.from_iterable(roll_up.pieces() if tells_pieces else ())
    return partials


def rows(partials: Iterable[Partial], *kinds: str) -> pl.DataFrame:
    """Return the rows of the partials of these kinds, `at` = seconds after START instead of `second`."""
    chosen = [PARTIAL.empty(), *(partial.rows for partial in partials if partial.envelope.kind in kinds)]
    at = (pl.col("second").cast(pl.Int64) // SECOND - START).alias("at")
    return pl.concat(chosen).select(at, pl.exclude("second"))


def standing(partials: Iterable[Partial]) -> pl.DataFrame:
    """Return of each second and subject the row that stands in the end: the one with the most readings."""
    every = rows(partials, "closing", "revision", "idle")
    return every.sort("readings", maintain_order=True).unique(("at", "subject"), keep="last").sort("at", "subject")
