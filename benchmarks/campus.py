"""The campus that every benchmark measures with: Halo at 150 MW, 62,104 GPUs in 1,337 racks, all columns, at 1 Hz.

Values move as real ones do (a level that drifts, a sensor's noise and step, counters that add up), and no batch
is ever repeated. A collector reads its racks at a moment of its own within each second, so that readings come
all through it; `rows_a_message` says how many racks stand behind one collector: 46 is one rack.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import arrow
from schemas.facility import Facility, load
from schemas.gpu import GPU
from schemas.meter import METER
from schemas.registry import Registry, assign
from schemas.subject import MeterLevel, SubjectKind
from sources.publish import meter_groups
from wattline.scales import facility_file

GPU_TOPIC, POWER_TOPIC = "telemetry.gpu.v1", "telemetry.power.v1"
SECOND = 1_000_000
SCALE = "150MW"
"""The facility file of the campus; a benchmark that compares sizes may ask for another one of wattline.scales."""
START = 1_772_366_400
"""2026-03-01 12:00 UTC, for benchmarks that need no clock."""
SEED = 7
RACK_ROWS = 46
RACK_FRACTION, OTHER_FRACTION, BREACH_FRACTION = 0.85, 0.6, 1.2
"""Of its limit: what a rack draws, what all else carries, and what either shows in a breach."""
BREACH_EVERY = 20
"""A rack or feed that is made to breach does so in one second of so many."""
_STEP = 618_033
"""µs from one collector's moment to the next one's: the golden section spreads any number of them evenly."""


class Timed(NamedTuple):
    """One message and the moment, UTC µs, at which its readings were made."""

    at: int
    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    rows: int


def campus_registry(times: int = 1, scale: str = SCALE) -> Registry:
    """Return the registry of the campus, or of `times` such side by side; at `scale` "35MW" it is a quarter."""
    facility = load(facility_file(scale))
    registry = assign(facility)
    for number in range(1, times):
        registry = assign(elsewhere(facility, number), registry)
    return registry


@dataclass(frozen=True)
class Collectors:
    """Say which rows of a frame each collector sends, in stretches, with its key and its moment in each second."""

    keys: list[bytes]
    lengths: list[int]

    @cached_property
    def moments(self) -> NDArray[np.int64]:
        """Return the µs within the second at which each collector reads."""
        return np.arange(len(self.keys), dtype=np.int64) * _STEP % SECOND

    def stamps(self, second: int) -> pl.Series:
        """Return the time of each row."""
        return pl.Series(np.repeat(second * SECOND + self.moments, self.lengths)).cast(pl.Datetime("us"))


Floats = NDArray[np.float64]


class Gpus:
    """Move the values of GPUs on, by seconds: levels that drift, sensors with noise and steps, counters."""

    def __init__(self, nameplate_watts: Floats, draw: np.random.Generator) -> None:
        self._nameplate = nameplate_watts
        self._level = nameplate_watts * draw.uniform(0.3, 0.95, len(nameplate_watts))
        self._energy = draw.integers(10**9, 10**10, len(nameplate_watts)).astype(np.float64)

    def values(self, draw: np.random.Generator) -> dict[str, Floats]:
        """Return the next second's values, one element a GPU, by GPU's columns."""
        columns = self.stretch(1, draw)
        return {name: values[:, 0] for name, values in columns.items()}

    def stretch(self, steps: int, draw: np.random.Generator, seconds_a_step: int = 1) -> dict[str, Floats]:
        """Return the next `steps` readings of each GPU, by GPU's columns: a row a GPU, a column a step."""
        level = np.empty((len(self._nameplate), steps))
        for step in range(steps):
            self._drift(draw)
            level[:, step] = self._level
        columns = _sensed(level, self._nameplate[:, None], draw)
        energy = self._energy[:, None] + np.cumsum(columns["power_watts"], axis=1) * seconds_a_step
        self._energy = energy[:, -1]
        return columns | {"energy_joules": np.round(energy)}

    def _drift(self, draw: np.random.Generator) -> None:
        self._level += draw.normal(0, 0.01, len(self._level)) * self._nameplate
        np.clip(self._level, 0.1 * self._nameplate, self._nameplate, out=self._level)


def _sensed(level: Floats, nameplate: Floats, draw: np.random.Generator) -> dict[str, Floats]:
    """Return what the sensors of GPUs show at a level of watts; arrays of any shape."""
    share, shape = level / nameplate, level.shape
    return {
        "power_watts": np.maximum(np.round(level + draw.normal(0, 3, shape), 1), 0),
        "power_limit_watts": np.broadcast_to(nameplate, shape),
        "utilization_fraction": np.round(np.clip(share + draw.normal(0, 0.01, shape), 0, 1), 2),
        "encoder_fraction": np.where(share > 0.6, np.round(share - 0.5, 2), 0),
        "decoder_fraction": np.where(share > 0.7, np.round(share - 0.6, 2), 0),
        "memory_used_bytes": ((level * 1e8).astype(np.int64) >> 21 << 21).astype(np.float64),
        "temperature_celsius": np.round(30 + 45 * share + draw.normal(0, 0.4, shape)),
        "memory_temperature_celsius": np.round(38 + 48 * share + draw.normal(0, 0.4, shape)),
        "sm_clock_mhz": 1_980.0 - 15 * draw.integers(0, 4, shape),
        "throttle_reasons": np.where(share > 0.97, 4.0, 0.0),
        "interval_seconds": np.ones(shape),
        "averaging": np.zeros(shape),
    }


class Campus:
    """Make one second after the other; state moves on with each."""

    def __init__(self, registry: Registry, rows_a_message: int = RACK_ROWS, *, seed: int = SEED) -> None:
        self.registry = registry
        self._draw = np.random.default_rng(seed)
        self._slots = registry.slots.sort("rack", "node", "gpu")
        self._gpu_collectors = _gpu_collectors(registry, self._slots, rows_a_message)
        nameplate = self._slots["nameplate_watts"].fill_null(1000).to_numpy()
        self._gpus = Gpus(nameplate, self._draw)
        self._meters = _meters(registry)
        self._power_collectors = _power_collectors(self._meters)
        self._meter_energy = self._draw.integers(10**12, 10**13, len(self._meters)).astype(np.float64)

    @property
    def gpus(self) -> int:
        """Return how many GPU readings a second has."""
        return len(self._slots)

    def gpu(self, second: int) -> pl.DataFrame:
        """Return GPU's columns, one row a GPU, by rack, node and index."""
        columns = {
            "time": self._gpu_collectors.stamps(second),
            **{name: self._slots[name] for name in ("rack", "node", "gpu", "vendor", "model")},
            "instance": pl.repeat(None, len(self._slots), eager=True),
            **self._gpus.values(self._draw),
        }
        return pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in GPU.polars.items())

    def power(self, second: int, *, breaching: int = 0) -> pl.DataFrame:
        """Return METER's columns, one row a meter; `breaching` racks and as many feeds take turns to breach."""
        count = len(self._meters)
        usual = self._meters["usual_watts"].to_numpy()
        watts = usual * self._draw.normal(1, 0.01, count)
        turn = self._meters["turn"].to_numpy()
        in_breach = (turn >= 0) & (turn < breaching) & ((turn + second) % BREACH_EVERY == 0)
        watts = np.round(np.where(in_breach, self._meters["breach_watts"].to_numpy(), watts), 1)
        self._meter_energy += watts
        volts = np.round(240 + self._draw.normal(0, 0.5, count), 1)
        columns = {
            "time": self._power_collectors.stamps(second),
            "meter": self._meters["meter"],
            "level": self._meters["level"],
            "phase": np.zeros(count),
            "power_watts": watts,
            "apparent_va": np.round(watts / 0.98, 1),
            "current_amps": np.round(watts / (3 * volts * 0.98), 2),
            "voltage_volts": volts,
            "energy_joules": np.round(self._meter_energy),
            "interval_seconds": np.ones(count),
            "averaging": np.zeros(count),
            "quality": np.zeros(count),
        }
        return pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in METER.polars.items())

    def messages(self, second: int, *, breaching: int = 0) -> list[Timed]:
        """Return the messages of one second in the order of their moments."""
        gpu = _timed(GPU_TOPIC, GPU, self.gpu(second), self._gpu_collectors, second)
        return sorted([*gpu, *self.power_messages(second, breaching=breaching)], key=lambda each: each.at)

    def power_messages(self, second: int, *, breaching: int = 0) -> list[Timed]:
        """Return those of the meters only, by collector."""
        frame = self.power(second, breaching=breaching)
        return list(_timed(POWER_TOPIC, METER, frame, self._power_collectors, second))


def _timed(topic: str, record: object, frame: pl.DataFrame, collectors: Collectors, second: int) -> Iterator[Timed]:
    values = arrow.encode_slices(record, frame, collectors.lengths)
    headers = arrow.headers(record)
    ends = second * SECOND + collectors.moments
    for at, key, value, rows in zip(ends.tolist(), collectors.keys, values, collectors.lengths, strict=True):
        yield Timed(at, topic, key, value, headers, rows)


def _gpu_collectors(registry: Registry, slots: pl.DataFrame, rows_a_message: int) -> Collectors:
    """Give whole racks to collectors until each has about so many GPUs; the first rack's path is the key."""
    racks = slots.group_by("rack", maintain_order=True).len()
    before = racks["len"].cum_sum() - racks["len"]
    number = before // rows_a_message if rows_a_message > RACK_ROWS else pl.Series(range(len(racks)))
    grouped = racks.with_columns(number=number).group_by("number", maintain_order=True)
    of = grouped.agg(pl.col("rack").first(), pl.col("len").sum())
    paths = registry.paths(SubjectKind.RACK)
    keys = of.join(paths, left_on="rack", right_on="id", how="left", maintain_order="left")["path"]
    return Collectors([str(key).encode() for key in keys], of["len"].to_list())


def _meters(registry: Registry) -> pl.DataFrame:
    """Return the meters by group, with what each shows; `turn` numbers racks and feeds, −1 = others."""
    limits = registry.limits.filter(pl.col("limit").is_in(["budget", "rated", "contract", "nameplate"]))
    limit = limits.sort("limit").group_by(subject_kind="kind", subject="id").agg(watts=pl.col("watts").first())
    is_rack = (pl.col("subject_kind") == SubjectKind.RACK) & (pl.col("level") == MeterLevel.RACK_INPUT)
    may_breach = is_rack | (pl.col("level") == MeterLevel.FEED)
    sides = pl.when(is_rack).then(pl.len().over("subject_kind", "subject", "level")).otherwise(1)
    return (
        registry.meters.join(limit, on=["subject_kind", "subject"], how="left")
        .with_columns(share=pl.col("watts").fill_null(400_000.0) / sides)
        .with_columns(
            usual_watts=pl.col("share") * pl.when(is_rack).then(RACK_FRACTION).otherwise(OTHER_FRACTION),
            breach_watts=pl.col("share") * BREACH_FRACTION,
            turn=pl.when(may_breach)
            .then(pl.col("subject").rank("dense").over("level").cast(pl.Int64) - 1)
            .otherwise(-1),
        )
        .join(meter_groups(registry), on="meter")
        .sort("group", "meter")
    )


def _power_collectors(meters: pl.DataFrame) -> Collectors:
    groups = meters.group_by("group", maintain_order=True).len()
    return Collectors([group.encode() for group in groups["group"]], groups["len"].to_list())


def elsewhere(facility: Facility, number: int) -> Facility:
    """Return the same campus at other sites: every path begins with a site of its own."""
    sites = {site.id: f"{site.id}{number}" for site in facility.sites}

    def renamed(value: object) -> object:
        if isinstance(value, dict):
            return {key: renamed(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [renamed(each) for each in value]
        if isinstance(value, str) and value.partition("/")[0] in sites:
            head, slash, rest = value.partition("/")
            return f"{sites[head]}{slash}{rest}"
        return value

    return Facility.model_validate(renamed(facility.model_dump(exclude_unset=True, by_alias=True)))
