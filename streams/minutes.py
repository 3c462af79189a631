"""Minutes made of seconds, and the rows of `windows.site.v1` made of either."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from schemas.admission import ADMISSION_VERSION
from schemas.window import WINDOW
from streams import partial_rows
from streams.condition import Bools, Ints
from streams.lists import begins
from streams.members import Members
from streams.partial_rows import Column, Nullable
from streams.sums import MISSING, SECOND, Block

MINUTE = 60 * SECOND


def heard(block: Block, site: Ints) -> Bools:
    """Tell, as [second, subject], whether any source of a subject's site spoke; `site` by subject, ascending."""
    starts = np.flatnonzero(begins(site))
    by_site = np.logical_or.reduceat(block.readings > 0, starts, axis=1)
    return np.repeat(by_site, np.diff(np.append(starts, len(site))), axis=1)


def silent_sites(block: Block, site: Ints, names: Mapping[int, str]) -> dict[int, frozenset[str]]:
    """Return, by second, the names of the sites of which no source spoke; `site` as `heard` takes it."""
    first = np.flatnonzero(begins(site))
    of_column = [names[each] for each in site[first].tolist()]
    spoke = heard(block, site)[:, first]
    return {
        second: frozenset(name for name, is_heard in zip(of_column, row, strict=True) if not is_heard)
        for second, row in zip(block.seconds.tolist(), spoke.tolist(), strict=True)
    }


def minutes_of(seconds: Block) -> Block:
    """Return the minutes `[start, start + 60 s)` of a block, which holds every second of them, the silent ones too.

    Power is the mean over the seconds that have one, rounded to 1 mW (half to even), and so are its bounds over those
    in which the subject was in the facility: low is 0 where nothing is known, and high is missing where it is in any
    of them. Peak and temperature are the greatest; energy, current and utilization the sums; expected the greatest,
    reporting the least; the age is that at the minute's end.
    """
    minute = seconds.seconds // MINUTE * MINUTE
    first = np.flatnonzero(begins(minute))
    ends = minute[first] + MINUTE
    left = np.repeat(ends, np.diff(np.append(first, len(minute)))) - (seconds.seconds + SECOND)
    return Block(
        seconds=minute[first],
        power=_mean(seconds.power, first),
        low=_mean_low(seconds, first),
        high=_mean_high(seconds, first),
        peak=_greatest(seconds.peak, first),
        current_square=_total(seconds.current_square, first),
        energy=_total(seconds.energy, first),
        energy_method=_greatest(seconds.energy_method, first),
        utilization_sum=_total(seconds.utilization_sum, first),
        utilization_count=np.add.reduceat(seconds.utilization_count, first),
        temperature=_greatest(seconds.temperature, first),
        expected=_greatest(seconds.expected, first),
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

    def of_subject(name: str) -> Ints:
        return np.tile(whose[name].to_numpy(), windows)

    measured = _measured(block)
    columns: dict[str, Column] = {
        **measured,
        "window_start": np.repeat(block.seconds, subjects),
        "every_seconds": np.full(windows * subjects, every_seconds),
        "subject_kind": of_subject("subject_kind"),
        "subject": of_subject("subject"),
        "power_basis": Nullable(of_subject("basis"), measured["power_watts"].is_null),
        "version_admission": np.where(block.admission == MISSING, ADMISSION_VERSION, block.admission).ravel(),
        "version_facility": of_subject("facility"),
        "version_generation": np.zeros(windows * subjects, np.int64),
        "version_readings": block.readings.ravel(),
        "version_digest": block.digest.ravel(),
        "expected": block.expected.ravel(),
        "reporting": block.reporting.ravel(),
    }
    return partial_rows.rows_of(WINDOW, columns, windows * subjects)


def _measured(block: Block) -> dict[str, Nullable]:
    """Return the columns of WINDOW that are null where nothing is known, in its units."""
    count = block.utilization_count.ravel()
    return {
        "power_watts": _column(block.power, 1e-3),
        "power_low_watts": _column(block.low, 1e-3),
        "power_high_watts": _column(block.high, 1e-3),
        "power_max_watts": _column(block.peak, 1e-3),
        "current_square_seconds": _column(block.current_square, 1e-6),
        "energy_joules": _column(block.energy, 1e-3),
        "energy_method": _whole(block.energy_method),
        "utilization_fraction": Nullable(block.utilization_sum.ravel() / np.maximum(count, 1) / 1e4, count <= 0),
        "temperature_max_celsius": _column(block.temperature, 1e-1),
        "oldest_age_seconds": _column(block.oldest_age, 1e-6),
    }


def _column(values: Ints, unit: float) -> Nullable:
    """Return integers of `unit` (a power of ten) as f64, null where missing."""
    whole = _whole(values)
    # Division by a whole power of ten is correctly rounded; a product with its inverse is not.
    return whole._replace(values=whole.values / round(1 / unit))


def _whole(values: Ints) -> Nullable:
    flat = values.ravel()
    is_null = flat == MISSING
    return Nullable(np.where(is_null, 0, flat), is_null)


def _total(column: Ints, first: Ints) -> Ints:
    is_there = column != MISSING
    total = np.add.reduceat(np.where(is_there, column, 0), first)
    return np.where(np.logical_or.reduceat(is_there, first), total, MISSING)


def _mean(column: Ints, first: Ints) -> Ints:
    count = np.add.reduceat((column != MISSING).astype(np.int64), first)
    mean = np.rint(_total(column, first) / np.maximum(count, 1)).astype(np.int64)
    return np.where(count > 0, mean, MISSING)


def _mean_low(seconds: Block, first: Ints) -> Ints:
    said = np.where((seconds.low == MISSING) & (seconds.expected > 0), 0, seconds.low)
    return np.where(_greatest(seconds.low, first) == MISSING, MISSING, _mean(said, first))


def _mean_high(seconds: Block, first: Ints) -> Ints:
    is_unknown = (seconds.high == MISSING) & (seconds.expected > 0)
    return np.where(np.logical_or.reduceat(is_unknown, first), MISSING, _mean(seconds.high, first))


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
