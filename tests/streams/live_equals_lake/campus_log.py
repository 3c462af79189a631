"""What the collectors of a small campus send: late, twice, corrected, silent, with clocks that are off.

Pure in its seed. Event time runs from START; a message lies in the log where its sender's delay puts it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from schemas.column import Record
from schemas.gpu import GPU
from schemas.meter import METER
from schemas.registry import Registry
from schemas.rule import Rule
from schemas.subject import MeterLevel

CAMPUS = Path(__file__).parent / "campus.toml"
START = 1_753_000_043
"""A second in the middle of a minute, and of a piece of one."""
SECOND = 1_000_000
CARRIES = {MeterLevel.FEED: 4.5, MeterLevel.PANEL: 5.5, MeterLevel.UTILITY: 15.0, MeterLevel.NODE: 0.4}
"""Loads, each as that of a rack input, on a meter: about those below it, so that now and then it proves something."""
COUNTERS = {MeterLevel.UTILITY: (360_000.0, 0.01), MeterLevel.FEED: (0.001, 0.02), MeterLevel.NODE: (0.001, 0.4)}
"""Steps in J and how often a reset; a meter of a node is so often reset that it is past its old value in a second."""
CALM_SECS = 25
"""The end of the log is quiet and on time, so that nothing is pending or firing when it is over."""
RULES = (
    Rule(id="rack-high", scope="rack", severity="critical", summary="{rack} draws {value}", above_watts=7_500.0,
         clear_below_watts=6_500.0),
    Rule(id="rack-held", scope="rack", severity="warning", summary="{rack} draws {value}", above_watts=6_500.0,
         for_secs=3.0, keep_firing_secs=2.0, no_data_after_secs=5.0),
    Rule(id="rack-gpus", scope="rack", severity="warning", summary="{rack} draws {value}", above_watts=3_600.0,
         subjects=("tst/h1/r02/*", "tst/h2/r01/k02"), no_data_after_secs=4.0),
    Rule(id="row-high", scope="row", severity="critical", summary="Row {row} draws {value} of {limit}",
         above_fraction_of_limit=0.55, for_secs=2.0, no_data_after_secs=5.0),
    Rule(id="feed-high", scope="feed", severity="warning", summary="{feed} carries {value}", above_watts=15_000.0),
    Rule(id="site-high", scope="site", severity="warning", summary="{site} draws {value}", above_watts=60_000.0),
)  # fmt: skip
"""Some read meters at the moment of the reading (racks with meters, one feed), the others read sums."""


class Sent(NamedTuple):
    """One message and the event-time second at which it is sent."""

    at: float
    record: Record
    key: bytes
    rows: pl.DataFrame


def campus_log(registry: Registry, seconds: int, seed: int) -> list[Sent]:
    """Return the messages of `seconds` seconds in the order in which they are sent."""
    draw = np.random.default_rng(seed)
    sent = [*_gpus(registry, seconds, draw), *_meters(registry, seconds, draw)]
    return sorted(sent, key=lambda each: each.at)


def _gpus(registry: Registry, seconds: int, draw: np.random.Generator) -> list[Sent]:
    """Send one message a rack and second; rack 2 sends two, rack 3's clock is 3 s ahead, rack 4's 1 s behind."""
    sent = []
    for rack, path in registry.racks.select("rack", "path").iter_rows():
        slots = registry.slots.filter(rack=rack)
        skew = {3: 3.0, 4: -1.2}.get(rack, draw.uniform(-0.2, 0.2))
        silent = _silences(seconds, draw)
        for nth in range(seconds * (2 if rack == 2 else 1)):
            second = nth / (2 if rack == 2 else 1)
            rows = _gpu_rows(slots, second + skew, draw, calm=second >= seconds - CALM_SECS)
            if silent[int(second)]:
                rows = rows.clear()
            sent += _delivered(GPU, path.encode(), second, rows, draw, seconds)
    return sent


def _gpu_rows(slots: pl.DataFrame, at: float, draw: np.random.Generator, *, calm: bool) -> pl.DataFrame:
    count = len(slots)
    power = np.full(count, 75.0) if calm else draw.uniform(100, 500) + draw.uniform(0, 400, count)
    heard = np.full(count, True) if calm else draw.random(count) > 0.02
    nothing = np.zeros(count, bool) if calm else draw.random(count) < 0.03
    columns = {
        "time": _times(at + draw.uniform(0.3, 0.6) + np.arange(count) * 0.003),
        "power_watts": pl.Series(np.where(nothing, np.nan, power.round(2)), nan_to_null=True),
        "utilization_fraction": pl.Series(np.where(draw.random(count) < 0.02, np.nan, draw.random(count).round(3)),
                                          nan_to_null=True),
        "temperature_celsius": draw.uniform(30, 80, count).round(1),
        "energy_joules": (at * 400 + np.arange(count)).round(),
    }  # fmt: skip
    return _whole(GPU, slots.select("rack", "node", "gpu"), columns).filter(pl.Series(heard))


def _meters(registry: Registry, seconds: int, draw: np.random.Generator) -> list[Sent]:
    """Send one message a meter and interval; those of one row of racks share a key, and so a partition."""
    sent = []
    for meter, path, level, interval in registry.meters.select(
        "meter", "path", "level", "interval_seconds"
    ).iter_rows():
        key = path.rsplit("/", 2)[0].encode()
        loads = CARRIES.get(MeterLevel(level), 1.0)
        skew, watts, silent = draw.uniform(-0.2, 0.2), 3_000.0, _silences(seconds, draw)
        counter = _Counter(*COUNTERS.get(MeterLevel(level), (None, 0.0)), draw=draw)
        for second in np.arange(0, seconds, interval).tolist():
            calm = second >= seconds - CALM_SECS
            watts = 3_000.0 if calm else float(np.clip(watts + draw.normal(0, 400), 1_000, 6_500))
            energy = counter.after(watts * loads * interval)
            rows = _meter_rows(meter, level, second + skew, watts * loads, interval, energy, draw)
            if silent[int(second)]:
                rows = rows.clear()
            sent += _delivered(METER, key, second, rows, draw, seconds)
    return sent


def _meter_rows(  # noqa: PLR0917
    meter: int, level: int, at: float, watts: float, interval: float, energy: float | None, draw: np.random.Generator
) -> pl.DataFrame:
    phases = 4 if level == MeterLevel.FEED else 1
    total = np.arange(phases) == 0
    # A source that says its interval says now and then another one than the registry.
    stated = draw.choice([np.nan, interval, 2 * interval], p=[0.5, 0.4, 0.1])
    columns = {
        "time": _times(np.full(phases, at + draw.uniform(0.0, 0.3))),
        "phase": np.arange(phases),
        "power_watts": pl.Series(np.where(total, round(watts, 3), np.nan), nan_to_null=True),
        "current_amps": pl.Series(np.where(phases == 1, np.nan, (watts / 650 + draw.normal(0, 1, phases)).round(3)),
                                  nan_to_null=True),
        "energy_joules": pl.Series(np.where(total & (energy is not None), energy or 0.0, np.nan), nan_to_null=True),
        "interval_seconds": pl.Series(np.full(phases, stated), nan_to_null=True),
    }  # fmt: skip
    rows = pl.DataFrame({"meter": [meter] * phases, "level": [level] * phases})
    return _whole(METER, rows, columns)


class _Counter:
    """An energy counter of a meter: in steps, now and then reset or another meter's; None where the meter has none."""

    def __init__(self, step: float | None, resets: float, draw: np.random.Generator) -> None:
        self._step, self._resets, self._draw, self._joules = step, resets, draw, 5e6

    def after(self, joules: float) -> float | None:
        self._joules = 0.0 if self._draw.random() < self._resets else self._joules + joules
        self._joules += 1e9 if self._draw.random() < self._resets / 4 else 0
        return None if self._step is None else round(self._joules // self._step * self._step, 3)


def _delivered(  # noqa: PLR0917
    record: Record, key: bytes, second: float, rows: pl.DataFrame, draw: np.random.Generator, seconds: int
) -> list[Sent]:
    """Return what arrives of a message: late, beyond the horizon, twice, or with other values a second time."""
    if second >= seconds - CALM_SECS:
        return [Sent(second, record, key, rows)]
    late = draw.choice([0.0, draw.uniform(0.2, 3), draw.uniform(3, 8), draw.uniform(12, 16)], p=[0.85, 0.1, 0.04, 0.01])
    sent = [Sent(second + late, record, key, rows)]
    if draw.random() < 0.04:
        sent.append(Sent(second + late + draw.uniform(0, 4), record, key, rows))
    if draw.random() < 0.04:
        corrected = rows.with_columns((pl.col("power_watts") + draw.choice([-7.5, 7.5])).clip(0)).cast(record.polars)
        sent.append(Sent(second + late + draw.uniform(0, 4), record, key, corrected))
    return sent


def _silences(seconds: int, draw: np.random.Generator) -> np.ndarray:
    """Return whether a source is silent, by second: a few gaps, one of 18 s, none in the calm at the end."""
    silent = np.zeros(seconds, bool)
    for length in (3, 7, 18):
        begin = int(draw.integers(5, max(6, seconds)))
        silent[begin : begin + length] = True
    silent[-CALM_SECS:] = False
    return silent


def _times(at: np.ndarray) -> pl.Series:
    return pl.Series(START * SECOND + np.round(at * SECOND).astype(np.int64)).cast(pl.Datetime("us"))


def _whole(record: Record, keys: pl.DataFrame, columns: dict[str, object]) -> pl.DataFrame:
    """Return rows with all columns of a record, null where nothing is said."""
    said = keys.with_columns(**columns)
    missing = (pl.lit(None).alias(name) for name in record.polars if name not in said.columns)
    return said.with_columns(*missing).select(*record.polars).cast(record.polars)
