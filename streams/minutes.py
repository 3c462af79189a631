"""Minutes made of seconds, and the rows of `windows.site.v1` made of either."""

from __future__ import annotations

import numpy as np
import polars as pl

from schemas.admission import ADMISSION_VERSION
from schemas.window import WINDOW
from streams.condition import Ints
from streams.members import Members
from streams.sums import MISSING, SECOND, Block

MINUTE = 60 * SECOND


def minutes_of(seconds: Block) -> Block:
    """Return the minutes `[start, start + 60 s)` of a block of seconds, each from those of its seconds that there are.

    Power and its bounds are means over the seconds that have one, rounded to 1 mW (half to even); peak and
    temperature the greatest; energy, current and utilization the sums; expected the greatest, reporting the
    least; the age is that at the minute's end.
    """
    minute = seconds.seconds // MINUTE * MINUTE
    first = np.flatnonzero(np.r_[True, minute[1:] != minute[:-1]][: len(minute)])
    ends = minute[first] + MINUTE
    left = np.repeat(ends, np.diff(np.append(first, len(minute)))) - (seconds.seconds + SECOND)
    return Block(
        seconds=minute[first],
        power=_mean(seconds.power, first),
        low=_mean(seconds.low, first),
        high=_mean(seconds.high, first),
        peak=_greatest(seconds.peak, first),
        current_square=_total(seconds.current_square, first),
        energy=_total(seconds.energy, first),
        energy_method=_greatest(seconds.energy_method, first),
        utilization_sum=_total(seconds.utilization_sum, first),
        utilization_count=np.add.reduceat(seconds.utilization_count, first),
        temperature=_greatest(seconds.temperature, first),
        expected=np.maximum.reduceat(seconds.expected, first),
        reporting=np.minimum.reduceat(seconds.reporting, first),
        oldest_age=_age_at_end(seconds.oldest_age, left, first),
        readings=np.add.reduceat(seconds.readings, first),
        digest=np.add.reduceat(seconds.digest, first),
        admission=_least_said(seconds.admission, first),
    )


def windows_of(members: Members, block: Block, *, every_seconds: int) -> pl.DataFrame:
    """Return WINDOW rows of a block for every subject, ordered by (window_start, subject); generation 0, live."""
    return rows_of(members.subjects, block, every_seconds=every_seconds)


def rows_of(whose: pl.DataFrame, block: Block, *, every_seconds: int) -> pl.DataFrame:
    """Return WINDOW rows of a block whose subjects are the rows of a frame (subject_kind, subject, basis, facility)."""
    windows, subjects = block.power.shape
    of_subject = {name: np.tile(whose[name].to_numpy(), windows) for name in ("subject_kind", "subject")}
    power = _column(block.power, 1e-3)
    basis = np.tile(whose["basis"].to_numpy(), windows)
    count = block.utilization_count.ravel()
    utilization = np.where(count > 0, block.utilization_sum.ravel() / np.maximum(count, 1) / 1e4, np.nan)
    columns = {
        "window_start": pl.Series(np.repeat(block.seconds, subjects)).cast(pl.Datetime("us")),
        "every_seconds": pl.repeat(every_seconds, windows * subjects, dtype=pl.Int16, eager=True),
        **of_subject,
        "power_watts": power,
        "power_low_watts": _column(block.low, 1e-3),
        "power_high_watts": _column(block.high, 1e-3),
        "power_max_watts": _column(block.peak, 1e-3),
        "power_basis": pl.Series(basis).set(power.is_null(), None),
        "current_square_seconds": _column(block.current_square, 1e-6),
        "energy_joules": _column(block.energy, 1e-3),
        "energy_method": _whole(block.energy_method),
        "utilization_fraction": pl.Series(utilization, nan_to_null=True),
        "temperature_max_celsius": _column(block.temperature, 1e-1),
        "expected": block.expected.ravel(),
        "reporting": block.reporting.ravel(),
        "oldest_age_seconds": _column(block.oldest_age, 1e-6),
        "version_admission": np.where(block.admission == MISSING, ADMISSION_VERSION, block.admission).ravel(),
        "version_facility": np.tile(whose["facility"].to_numpy(), windows),
        "version_generation": pl.repeat(0, windows * subjects, dtype=pl.Int32, eager=True),
        "version_readings": block.readings.ravel(),
        "version_digest": block.digest.ravel(),
    }
    return pl.DataFrame(columns).cast(WINDOW.polars).select(*WINDOW.polars)  # type: ignore[arg-type]


def _column(values: Ints, unit: float) -> pl.Series:
    """Return integers of `unit` (a power of ten) as f64, null where missing."""
    flat = values.ravel()
    # Division by a whole power of ten is correctly rounded; a product with its inverse is not.
    return pl.Series(np.where(flat == MISSING, np.nan, flat / round(1 / unit)), nan_to_null=True)


def _whole(values: Ints) -> pl.Series:
    flat = pl.Series(values.ravel())
    return flat.set(flat == MISSING, None)


def _total(column: Ints, first: Ints) -> Ints:
    is_there = column != MISSING
    total = np.add.reduceat(np.where(is_there, column, 0), first)
    return np.where(np.logical_or.reduceat(is_there, first), total, MISSING)


def _mean(column: Ints, first: Ints) -> Ints:
    count = np.add.reduceat((column != MISSING).astype(np.int64), first)
    mean = np.rint(_total(column, first) / np.maximum(count, 1)).astype(np.int64)
    return np.where(count > 0, mean, MISSING)


def _greatest(column: Ints, first: Ints) -> Ints:
    greatest: Ints = np.maximum.reduceat(column, first)
    return greatest


def _least_said(column: Ints, first: Ints) -> Ints:
    """Return the least of what is not missing."""
    most = np.iinfo(np.int64).max
    least: Ints = np.minimum.reduceat(np.where(column == MISSING, most, column), first)
    return np.where(least == most, MISSING, least)


def _age_at_end(age: Ints, left: Ints, first: Ints) -> Ints:
    """Return the age of the last second that has one, plus what is left of the minute after that second."""
    until_end = np.where(age == MISSING, np.iinfo(np.int64).max, left[:, None])
    last = np.minimum.reduceat(until_end, first)
    is_last = until_end == np.repeat(last, np.diff(np.append(first, len(left))), axis=0)
    aged = np.where(is_last & (age != MISSING), age + left[:, None], MISSING)
    return _greatest(aged, first)
