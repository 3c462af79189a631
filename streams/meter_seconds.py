"""Seconds of meters: a reading holds until the next one, and for at most three intervals.

So a window is a function of the readings in `[start − hold, end)`: a 2 s meter does not report half the load
every other second, and a gap of 18 s is silence after the third interval. All in integers, so that the
order of readings never matters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.partial import PARTIAL
from schemas.subject import SubjectKind
from streams.gauge import spread
from streams.in_force import Gains
from streams.lists import begins
from streams.meter_log import NULL
from streams.meter_readings import MeterReadings
from streams.partial_rows import Nullable, partial_rows

Int64s = NDArray[np.int64]

SECOND = 1_000_000
COUNTER_STEPS = 100
"""A counter's difference counts where it spans at least so many steps of the counter (schemas.md 7)."""
COUNTER, INTEGRAL = 1, 3
MILLION = 1_000_000


def meter_seconds(readings: MeterReadings, first: int, end: int, gains: Gains | None = None) -> pl.DataFrame:
    """Return PARTIAL rows of kind METER for the seconds `[first, end)` in which a reading holds.

    **Frame out** PARTIAL ordered by second and meter; power is the time-weighted mean over the part of the
    second that is covered, energy the counter's difference where it is fine enough, fell nowhere and is no more than
    `gains` let it be, else the integral;
    current is that of the worst phase. A second without a phase-0 reading has no power. Pure.
    """
    said = readings.before(end * SECOND).since((first - 1) * SECOND)
    versions = _versions(said, first, end)
    if not len(versions.second):
        return PARTIAL.empty()
    order = np.lexsort((versions.meter, versions.second))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    distinct, columns = said.one_an_identity(), _Columns(len(order), versions, place)
    total = distinct.phase == 0
    columns.put(_powers(distinct.pick(total & (distinct.power != NULL)), first, end))
    columns.put(_currents(distinct.pick(distinct.current != NULL), first, end))
    columns.put(_counted(distinct.pick(total & (distinct.energy != NULL)), first, end, gains))
    return _rows(versions.pick(order), columns)


class _Seconds(NamedTuple):
    """Rows of (meter, second), ordered by them, and columns of integers."""

    meter: Int64s
    second: Int64s
    columns: dict[str, Int64s]

    def pick(self, chosen: Int64s) -> _Seconds:
        picked = {name: column[chosen] for name, column in self.columns.items()}
        return _Seconds(self.meter[chosen], self.second[chosen], picked)


class _Columns(dict[str, Int64s]):
    """Columns of the rows that are told, NULL where nothing was put; `place` of each row of `versions` among them."""

    def __init__(self, count: int, versions: _Seconds, place: Int64s) -> None:
        super().__init__()
        self._count, self._place = count, place
        self._low = int(versions.second.min())
        self._span = int(versions.second.max()) - self._low + 1
        self._key = self._keys(versions)

    def put(self, seconds: _Seconds) -> None:
        """Add columns; every (meter, second) is one of `versions`."""
        at = self._place[np.searchsorted(self._key, self._keys(seconds))]
        for name, values in seconds.columns.items():
            self[name] = np.full(self._count, NULL)
            self[name][at] = values

    def _keys(self, seconds: _Seconds) -> Int64s:
        return seconds.meter * self._span + seconds.second - self._low


def _versions(said: MeterReadings, first: int, end: int) -> _Seconds:
    """Return readings and digest of the seconds of `[first, end)` in which a reading holds.

    They count what the second is a function of: all that was said from the oldest reading that holds in it,
    or from the second before where that is earlier (counters), to its end. A late reading only ever adds to
    that, so the richer window has the greater version; a count of what is used would not grow where a reading
    takes the place of another (docs/decisions/0030).
    """
    time, until, number = said.time, said.until, said.number
    low, high = time // SECOND, -(-until // SECOND)
    before = np.where(begins(said.meter), first, np.roll(high, 1))
    low, high = np.maximum(low, before).clip(first), high.clip(max=end)
    of, second = _spread(low, high)
    # One ascending key for all meters, so that each look-up is one search.
    base = int(time.min(initial=0)) - 2 * SECOND
    width = max(int(until.max(initial=0)), end * SECOND) - base + 2 * SECOND
    start, key = second * SECOND - base, number[of] * width
    at = number * width + time - base
    holds = np.searchsorted(number * width + until - base, key + start, side="right")
    begin = np.minimum(holds, np.searchsorted(at, key + np.maximum(start - SECOND, 0)))
    stop = np.searchsorted(at, key + start + SECOND)
    total = np.append(np.int64(0), np.cumsum(said.hash))
    return _Seconds(said.meter[of], second, {"readings": stop - begin, "digest": total[stop] - total[begin]})


def _spread(low: Int64s, high: Int64s) -> tuple[Int64s, Int64s]:
    """Return (row, value) for each value of `[low, high)` of each row, in order."""
    count = (high - low).clip(0)
    return np.repeat(np.arange(len(low)), count), spread(low, count)


class _Covered(NamedTuple):
    """One row a reading and second that it covers, in order, and its `micros`; `starts` of (meter, phase, second)."""

    of: Int64s
    second: Int64s
    micros: Int64s
    starts: Int64s


def _covered(readings: MeterReadings, first: int, end: int) -> _Covered:
    """Let each reading, in order of meter, phase and time, cover `[first, end)` until the next one or its hold."""
    follows = np.append(~begins(readings.meter, readings.phase)[1:], False)[: len(readings.time)]
    following = np.where(follows, np.roll(readings.time, -1), np.iinfo(np.int64).max)
    until = np.minimum(readings.time + readings.hold, following)
    of, second = _spread((readings.time // SECOND).clip(first), (-(-until // SECOND)).clip(max=end))
    start = second * SECOND
    micros = np.minimum(until[of], start + SECOND) - np.maximum(readings.time[of], start)
    starts = np.flatnonzero(begins(readings.meter[of], readings.phase[of], second))
    return _Covered(of, second, micros, starts)


def _powers(readings: MeterReadings, first: int, end: int) -> _Seconds:
    """Return mean, largest, integral and age of the oldest reading of the total power."""
    of, second, micros, starts = _covered(readings, first, end)
    if not len(starts):
        return _Seconds(starts, starts, dict.fromkeys(("power", "power_max", "integral", "oldest_age"), starts))
    power, heads = readings.power[of], of[starts]
    work, covered = np.add.reduceat(power * micros, starts), np.add.reduceat(micros, starts)
    columns = {
        "power": (work + covered // 2) // covered,
        "power_max": np.maximum.reduceat(power, starts),
        "integral": (work + SECOND // 2) // SECOND,
        "oldest_age": (second[starts] + 1) * SECOND - readings.time[heads],
    }
    return _Seconds(readings.meter[heads], second[starts], columns)


def _currents(readings: MeterReadings, first: int, end: int) -> _Seconds:
    """Return Σ i²·dt of the phase with the most; a total's current counts where no phase has one."""
    if (readings.phase != readings.phase[:1]).any():
        readings = readings.pick(np.lexsort((readings.time, readings.phase, readings.meter)))
    of, second, micros, starts = _covered(readings, first, end)
    if not len(starts):
        return _Seconds(starts, starts, {"current_square": starts})
    # mA² · µs in two parts: as one integer it would leave 64 bits above 3 kA.
    square = readings.current[of] ** 2
    parts = square // MILLION * micros + (square % MILLION * micros + MILLION // 2) // MILLION
    total, heads = np.add.reduceat(parts, starts), of[starts]
    meter, when, is_phase = readings.meter[heads], second[starts], readings.phase[heads] > 0
    order = np.lexsort((total, is_phase, when, meter))
    worst = order[np.append(begins(meter[order], when[order])[1:], True)]
    return _Seconds(meter[worst], when[worst], {"current_square": total[worst]})


def _counted(readings: MeterReadings, first: int, end: int, gains: Gains | None) -> _Seconds:
    """Return the counter's difference from the end of one second to the end of the next, where it is fine.

    These differences join end to end. The counter's step is not known, but it divides both values: their
    greatest common divisor stands for it, at worst too large. A counter that was reset goes down between two
    readings, also of one second; one that gains more than can have flowed is another meter's.
    """
    second = readings.time // SECOND
    last = np.flatnonzero(np.append(begins(readings.meter, second)[1:], True)[: len(second)])
    meter, when, energy = readings.meter[last], second[last], readings.energy[last]
    joins = np.append(False, (meter[1:] == meter[:-1]) & (when[1:] == when[:-1] + 1))[: len(last)]
    at = np.flatnonzero(joins & (when >= first) & (when < end))
    difference = energy[at] - energy[at - 1]
    is_fine = (difference > 0) & (difference >= COUNTER_STEPS * np.gcd(energy[at], energy[at - 1]))
    falls = np.cumsum(np.append(False, readings.energy[1:] < readings.energy[:-1])[: len(second)])
    is_fine &= falls[last[at]] == falls[last[at - 1]]
    if gains is not None:
        is_fine &= difference <= gains.of(meter[at])
    fine = at[is_fine]
    return _Seconds(meter[fine], when[fine], {"counted": difference[is_fine]})


def _rows(versions: _Seconds, columns: _Columns) -> pl.DataFrame:
    power, counted, integral = columns["power"], columns["counted"], columns["integral"]
    is_silent, is_counted = power == NULL, counted != NULL
    count = len(power)
    nothing, one = np.zeros(count, np.int64), np.ones(count, np.int64)
    has_no_energy = is_silent & ~is_counted
    return partial_rows(
        {
            "second": versions.second * SECOND,
            "subject_kind": np.full(count, SubjectKind.METER),
            "subject": versions.meter,
            "power_milliwatts": Nullable(power, is_silent),
            "power_max_milliwatts": Nullable(columns["power_max"], is_silent),
            "silent_nameplate_milliwatts": Nullable(nothing, is_silent),
            "current_square_microseconds": _nullable(columns["current_square"]),
            "energy_millijoules": Nullable(np.where(is_counted, counted, integral), has_no_energy),
            "energy_method": Nullable(np.where(is_counted, COUNTER, INTEGRAL), has_no_energy),
            "utilization_count": nothing,
            "expected": one,
            "reporting": (~is_silent).astype(np.int64),
            "oldest_age_microseconds": _nullable(columns["oldest_age"]),
            "readings": versions.columns["readings"],
            "digest": versions.columns["digest"],
        }
    )


def _nullable(column: Int64s) -> Nullable:
    return Nullable(column, column == NULL)
