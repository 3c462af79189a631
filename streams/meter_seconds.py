"""Seconds of meters: a reading holds until the next one, and for at most three intervals.

So a window is a function of the readings in `[start − hold, end)`: a 2 s meter does not report half the load
every other second, and a gap of 18 s is silence after the third interval. All in integers, so that the
order of readings never matters.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.partial import PARTIAL
from schemas.subject import SubjectKind
from streams.digest import hashed
from streams.in_force import InForce, span

SECOND = 1_000_000
HOLD_INTERVALS = 3
MAX_HOLD_MICROSECONDS = 180 * SECOND
"""A source slower than once a minute is held for 3 minutes: a restart reads again as far back as it holds."""
DEFAULT_INTERVAL_SECONDS = 1.0
COUNTER_STEPS = 100
"""A counter's difference counts where it spans at least so many steps of the counter (schemas.md 7)."""
COUNTER, INTEGRAL = 1, 3

READINGS: dict[str, pl.DataType | type[pl.DataType]] = {
    "time": pl.Int64,
    "meter": pl.Int32,
    "phase": pl.Int8,
    "power_milliwatts": pl.Int64,
    "current_milliamps": pl.Int64,
    "energy_millijoules": pl.Int64,
    "hold": pl.Int64,
}
"""What is kept of a meter reading; `time` and `hold` in µs."""
IDENTITY = ("meter", "phase", "time")


def readings_of(rows: pl.DataFrame, intervals: pl.DataFrame) -> pl.DataFrame:
    """Return one row of READINGS for each admitted METER row, in their order; pure.

    `intervals`: meter i32, interval_seconds f64 (null = not known). The source's own interval counts, else
    the registry's, else one second. `hold` is null where the meter is not in `intervals`.
    """
    stated = pl.when(pl.col("interval_seconds") > 0).then(pl.col("interval_seconds").cast(pl.Float64))
    registered = intervals.select(
        "meter", pl.col("interval_seconds").cast(pl.Float64).fill_null(DEFAULT_INTERVAL_SECONDS).alias("_registered")
    )
    interval = pl.when(pl.col("_registered").is_not_null()).then(pl.coalesce(stated, "_registered"))
    hold = (interval * (HOLD_INTERVALS * SECOND)).ceil().cast(pl.Int64).clip(1, MAX_HOLD_MICROSECONDS)
    joined = rows.join(registered, on="meter", how="left", maintain_order="left")
    return joined.with_columns(pl.col("time").cast(pl.Int64), hold.alias("hold")).select(*READINGS)


def readings_in_force(rows: pl.DataFrame, in_force: InForce) -> pl.DataFrame:
    """Return READINGS of admitted METER rows, in their order, each by the facility of its second; pure."""
    standings = in_force.between(*span(rows))
    if len(standings) == 1:
        return readings_of(rows, standings[0].meters)
    second, numbered = pl.col("time").to_physical() // SECOND, rows.with_row_index("_row_index")
    parts = []
    for standing in standings:
        theirs = numbered.filter((second >= standing.first) & (second < standing.end))
        parts.append(readings_of(theirs, standing.meters).with_columns(theirs["_row_index"]))
    return pl.concat(parts).sort("_row_index").drop("_row_index")


def meter_seconds(readings: pl.DataFrame, first: int, end: int) -> pl.DataFrame:
    """Return PARTIAL rows of kind METER for the seconds `[first, end)` in which a reading holds.

    **Frame in** READINGS, in any order, duplicates allowed: of one identity the greater value stands.
    **Frame out** PARTIAL ordered by second and meter; power is the time-weighted mean over the part of the
    second that is covered, energy the counter's difference where it is fine enough, else the integral;
    current is that of the worst phase. A second without a phase-0 reading has no power. Pure.
    """
    said = _said(readings.filter(pl.col("time") < end * SECOND))
    out = _versions(said, first, end)
    if out.is_empty():
        return PARTIAL.empty()
    distinct = said.unique(IDENTITY, keep="last", maintain_order=True)
    powers = _spans(distinct.filter((pl.col("phase") == 0) & pl.col("power_milliwatts").is_not_null()), first, end)
    currents = _spans(distinct.filter(pl.col("current_milliamps").is_not_null()), first, end)
    counters = _counters(distinct.filter((pl.col("phase") == 0) & pl.col("energy_millijoules").is_not_null()))
    for part in (_power(powers), _current(currents), _counted(counters)):
        out = out.join(part, on=("second", "meter"), how="left")
    return _partial_rows(out.sort("second", "meter"))


def reaches(readings: pl.DataFrame) -> pl.DataFrame:
    """Return (time, meter, until) of READINGS, until when each of them can matter; pure.

    That is as long as it or any reading before it holds: it ends what they said, also beyond its own hold.
    """
    held = readings.select("time", "meter", until=pl.col("time") + pl.col("hold")).sort("meter", "time")
    return held.with_columns(pl.col("until").cum_max().over("meter"))


def _said(readings: pl.DataFrame) -> pl.DataFrame:
    """Keep each thing that was said once; of one identity the last is the one that stands."""
    values = ("power_milliwatts", "energy_millijoules", "current_milliamps", "hold")
    return readings.sort("meter", "time", "phase", *values, nulls_last=False).unique(maintain_order=True)


def _versions(said: pl.DataFrame, first: int, end: int) -> pl.DataFrame:
    """Return (second, meter, readings, digest) of the seconds of `[first, end)` in which a reading holds.

    They count what the second is a function of: all that was said from the oldest reading that holds in it,
    or from the second before where that is earlier (counters), to its end. A late reading only ever adds to
    that, so the richer window has the greater version; a count of what is used would not grow where a reading
    takes the place of another.
    """
    held = reaches(said)
    meter, time, until = (held[name].to_numpy() for name in ("meter", "time", "until"))
    low, high = time // SECOND, -(-until // SECOND)
    before = np.where(np.diff(meter, prepend=-1) == 0, np.roll(high, 1), first)
    low, high = np.maximum(low, before).clip(first), high.clip(max=end)
    count = (high - low).clip(0)
    of = np.repeat(np.arange(len(meter)), count)
    second = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count) + low[of]
    # One ascending key for all meters, so that each look-up is one search.
    number = np.cumsum(np.diff(meter, prepend=meter[:1]) != 0)
    base = int(time.min(initial=0)) - 2 * SECOND
    span = max(int(until.max(initial=0)), end * SECOND) - base + 2 * SECOND
    start, key = second * SECOND - base, number[of] * span
    holds = np.searchsorted(number * span + until - base, key + start, side="right")
    counts = np.searchsorted(number * span + time - base, key + np.maximum(start - SECOND, 0))
    begin, stop = np.minimum(holds, counts), np.searchsorted(number * span + time - base, key + start + SECOND)
    total = np.append(np.int64(0), np.cumsum(_hashes(said)))
    columns = {"second": second, "meter": meter[of], "readings": stop - begin, "digest": total[stop] - total[begin]}
    return pl.DataFrame(columns, schema_overrides={"meter": pl.Int32})


def _spans(readings: pl.DataFrame, first: int, end: int) -> pl.DataFrame:
    """Return one row a reading and second of `[first, end)` that it covers, with the covered `micros`."""
    following = pl.col("time").shift(-1).over("meter", "phase")
    start = pl.col("second") * SECOND
    return (
        readings.with_columns(pl.min_horizontal(pl.col("time") + pl.col("hold"), following).alias("until"))
        .with_columns(
            (pl.col("time") // SECOND).clip(first).alias("low"),
            ((pl.col("until") + SECOND - 1) // SECOND).clip(upper_bound=end).alias("high"),
        )
        .filter(pl.col("high") > pl.col("low"))
        .with_columns(pl.int_ranges("low", "high").alias("second"))
        .explode("second")
        .with_columns(
            (pl.min_horizontal("until", start + SECOND) - pl.max_horizontal("time", start)).alias("micros"),
        )
    )


def _hashes(said: pl.DataFrame) -> NDArray[np.int64]:
    """Return the hash of each row of READINGS; sums of hashes wrap mod 2⁶⁴."""
    fields = ("meter", "phase", "time", "power_milliwatts", "current_milliamps", "energy_millijoules", "hold")
    columns = said.select(pl.col(name).cast(pl.Int64).fill_null(-1) for name in fields)
    return hashed(*(column.to_numpy() for column in columns)).view(np.int64)


def _power(spans: pl.DataFrame) -> pl.DataFrame:
    """Return mean, largest, integral and age of the oldest reading of the total power by second and meter."""
    work, covered = (pl.col("power_milliwatts") * pl.col("micros")).sum(), pl.col("micros").sum()
    return spans.group_by("second", "meter").agg(
        ((work + covered // 2) // covered).alias("power"),
        pl.col("power_milliwatts").max().alias("power_max"),
        ((work + SECOND // 2) // SECOND).alias("integral"),
        ((pl.col("second").first() + 1) * SECOND - pl.col("time").min()).alias("oldest_age"),
    )


def _current(spans: pl.DataFrame) -> pl.DataFrame:
    """Return Σ i²·dt of the phase with the most; a total's current counts where no phase has one."""
    # mA² · µs in two parts: as one integer it would leave 64 bits above 3 kA.
    square, million = pl.col("current_milliamps") ** 2, 1_000_000
    rest = (square % million * pl.col("micros") + million // 2) // million
    square = square // million * pl.col("micros") + rest
    by_phase = spans.group_by("second", "meter", "phase").agg(square.sum().alias("square"))
    phased = pl.col("square").filter(pl.col("phase") > 0)
    worst = pl.coalesce(phased.max(), pl.col("square").max())
    return by_phase.group_by("second", "meter").agg(worst.alias("current_square"))


def _counters(readings: pl.DataFrame) -> pl.DataFrame:
    """Return the last counter reading of each second beside the last one of the second before (…_from)."""
    last = readings.group_by((pl.col("time") // SECOND).alias("second"), "meter", maintain_order=True).last()
    return last.join(last.with_columns(pl.col("second") + 1), on=("second", "meter"), how="inner", suffix="_from")


def _counted(counters: pl.DataFrame) -> pl.DataFrame:
    """Return the counter's difference from the end of one second to the end of the next, where it is fine.

    These differences join end to end. The counter's step is not known, but it divides both values: their
    greatest common divisor stands for it, at worst too large. A counter that was reset goes down.
    """
    step = np.gcd(counters["energy_millijoules_from"].to_numpy(), counters["energy_millijoules"].to_numpy())
    difference = pl.col("energy_millijoules") - pl.col("energy_millijoules_from")
    fine = (difference > 0) & (difference >= COUNTER_STEPS * pl.lit(pl.Series(step)))
    return counters.filter(fine).select("second", "meter", difference.alias("counted"))


def _partial_rows(out: pl.DataFrame) -> pl.DataFrame:
    has_power, is_counted = pl.col("power").is_not_null(), pl.col("counted").is_not_null()
    method = pl.when(is_counted).then(COUNTER).when(has_power).then(INTEGRAL)
    return out.select(
        (pl.col("second") * SECOND).cast(pl.Datetime("us")),
        pl.lit(SubjectKind.METER.value).alias("subject_kind"),
        pl.col("meter").alias("subject"),
        pl.col("power").alias("power_milliwatts"),
        pl.col("power_max").alias("power_max_milliwatts"),
        pl.when(has_power).then(0).alias("silent_nameplate_milliwatts"),
        pl.col("current_square").alias("current_square_microseconds"),
        pl.coalesce("counted", "integral").alias("energy_millijoules"),
        method.alias("energy_method"),
        pl.lit(None).alias("utilization_sum_e4"),
        pl.lit(0).alias("utilization_count"),
        pl.lit(None).alias("temperature_max_decicelsius"),
        pl.lit(1).alias("expected"),
        has_power.alias("reporting"),
        pl.col("oldest_age").alias("oldest_age_microseconds"),
        "readings",
        "digest",
    ).cast(PARTIAL.polars)  # type: ignore[arg-type]
