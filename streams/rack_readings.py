"""The values of gauges at the moment of each reading, in event-time order, independent of drains and partitions.

A gauge with one input has a value at each of its readings. One with several (a rack's A and B side) has
at time t the sum of each input's latest reading at or before t, held for three of its intervals, and is
evaluated at t once every input is *passed*: it has reported a time ≥ t, or its log has gone on beyond t
by the hold, so that it is silent (streams/reading_state.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from streams.arrivals import accept, arrivals
from streams.condition import Bools, Floats, Ints
from streams.gauge import AMPS, Gauges
from streams.lists import begins
from streams.meter_rows import MeterRows
from streams.reading_state import LONG_AGO, ReadingState, Waiting, passed_through, reached_by


class Evaluations(NamedTuple):
    """Hold values of gauges, ordered by (gauge, at): the series that reading rules judge.

    `high` is +inf where an input is silent or suspect · `reporting` inputs out of `expected` ·
    `earlier_at`, `earlier_value` the evaluation before it (LONG_AGO, NaN for the first).
    """

    gauge: Ints
    at: Ints
    value: Floats
    high: Floats
    expected: Ints
    reporting: Ints
    earlier_at: Ints
    earlier_value: Floats


def read(gauges: Gauges, state: ReadingState, readings: MeterRows) -> tuple[ReadingState, Evaluations]:
    """Take admitted readings, in log order by partition, and return the evaluations that they allow.

    A reading that is not newer than its meter's newest changes nothing, so duplicates do not.
    """
    state, least = state.copy(), int(reached_by(state)[-1])
    fresh = accept(gauges, state, arrivals(gauges, state, readings), least)
    return _evaluate(gauges, state, state.waiting.then(fresh))


def pass_by(
    gauges: Gauges, state: ReadingState, partition: int, reached: int | None
) -> tuple[ReadingState, Evaluations]:
    """Note that an idle partition was told to have passed the event time `reached`; None = it is open.

    An open partition holds nothing up until its next reading, and its watermark stays.
    """
    state = state.copy()
    if reached is None:
        state.is_open[partition] = True
    else:
        state.watermark[partition] = max(state.watermark[partition], reached)
    return _evaluate(gauges, state, state.waiting)


def settle(gauges: Gauges, state: ReadingState, end: int) -> tuple[ReadingState, Evaluations]:
    """Evaluate all that waits for a moment before `end`, whoever has not reported: every log has reached it."""
    state = state.copy()
    return _evaluate(gauges, state, state.waiting, settled=end - 1)


def _evaluate(
    gauges: Gauges, state: ReadingState, rows: Waiting, settled: int = LONG_AGO
) -> tuple[ReadingState, Evaluations]:
    if not len(rows.input):
        return replace(state, waiting=rows), _no_evaluations()
    gauge = gauges.gauge[rows.input]
    some, of_row = gauges.among(gauge)
    passed = passed_through(gauges, state, some)
    is_due = rows.counts_from <= np.maximum(passed[of_row], settled)
    state = replace(state, waiting=rows.pick(~is_due))
    rows, gauge = rows.pick(is_due), gauge[is_due]
    order = np.lexsort((rows.message, rows.counts_from, gauge))
    rows, gauge = rows.pick(order), gauge[order]
    ends = _moments(gauges, state, rows, gauge)
    if not len(ends):
        _show(state, rows)
        return state, _no_evaluations()
    evaluations = _values(gauges, state, rows, gauge, ends)
    _show(state, rows)
    return state, _after_the_earlier(state, evaluations)


def _moments(gauges: Gauges, state: ReadingState, rows: Waiting, gauge: Ints) -> Ints:
    """Return the last row of each moment at which a gauge is evaluated."""
    at, message = rows.counts_from, rows.message
    is_worst = gauges.metric[gauge] == AMPS
    is_first = begins(gauge, at)
    is_first[1:] |= is_worst[1:] & (message[1:] != message[:-1])
    first = np.flatnonzero(is_first)
    if not len(first):
        return first
    is_asked = np.logical_or.reduceat(rows.is_trigger, first)
    is_asked &= at[first] > state.told_at[gauge[first]] - is_worst[first]
    last: Ints = np.append(first[1:], len(gauge)) - 1
    return last[is_asked]


def _values(gauges: Gauges, state: ReadingState, rows: Waiting, gauge: Ints, ends: Ints) -> Evaluations:
    """Return the value of each moment: the sum, or the worst, of what its inputs show then."""
    fed, nth = rows.input, np.arange(len(gauge))
    starts = np.searchsorted(gauge, gauge[ends])
    which, at = gauge[ends], rows.counts_from[ends]
    is_worst = gauges.metric[which] == AMPS
    value, reporting, silent = np.zeros(len(ends)), np.zeros(len(ends), dtype=np.int64), np.zeros(len(ends), dtype=bool)
    for place in range(int(gauges.inputs[which].max(initial=0))):
        latest = np.maximum.accumulate(np.where(fed - gauges.first_input[gauge] == place, nth, -1))[ends]
        slot = np.minimum(gauges.first_input[which] + place, len(gauges.gauge) - 1)
        shown = _Shown.of(state, rows, slot, np.where(latest >= starts, latest, -1))
        exists = (place < gauges.inputs[which]) & ~(is_worst & (shown.time == LONG_AGO))
        counts = exists & (at - shown.time <= shown.hold)
        value = np.where(counts, np.where(is_worst, np.maximum(value, shown.value), value + shown.value), value)
        reporting += counts
        silent |= exists & ~(counts & shown.is_good)
    # A sum of floats is off by 10⁻¹¹ W and would fire at its limit: to the µW it is exact. One reading stays as sent.
    value = np.where(gauges.inputs[which] > 1, np.round(value, 6), value)
    expected = np.where(is_worst, reporting, gauges.inputs[which])
    nowhere = np.full(len(ends), LONG_AGO)
    return Evaluations(
        which, at, value, np.where(silent, np.inf, value), expected, reporting, nowhere, np.full(len(ends), np.nan)
    )


class _Shown(NamedTuple):
    """What an input shows: the row of the drain that is its latest, else what the state remembers."""

    time: Ints
    value: Floats
    is_good: Bools
    hold: Ints

    @classmethod
    def of(cls, state: ReadingState, rows: Waiting, inputs: Ints, latest: Ints) -> _Shown:
        columns = (
            (rows.time, state.shown_at),
            (rows.value, state.shown_value),
            (rows.is_good, state.shown_good),
            (rows.hold, state.shown_hold),
        )
        return cls._make(np.where(latest >= 0, fresh[latest], kept[inputs]) for fresh, kept in columns)


def _show(state: ReadingState, rows: Waiting) -> None:
    # Of rows with one input the last one stays: NumPy assigns repeated indices in order.
    fed = rows.input
    state.shown_at[fed], state.shown_value[fed] = rows.time, rows.value
    state.shown_good[fed], state.shown_hold[fed] = rows.is_good, rows.hold


def _after_the_earlier(state: ReadingState, told: Evaluations) -> Evaluations:
    """Return the evaluations with the one before each; the state remembers the last of each gauge."""
    if not len(told.gauge):
        return told
    earlier_at, earlier_value = state.told_at[told.gauge], state.told_value[told.gauge]
    again = np.flatnonzero(~begins(told.gauge))
    earlier_at[again], earlier_value[again] = told.at[again - 1], told.value[again - 1]
    state.told_at[told.gauge], state.told_value[told.gauge] = told.at, told.value
    return told._replace(earlier_at=earlier_at, earlier_value=earlier_value)


def _no_evaluations() -> Evaluations:
    whole, real = np.zeros(0, dtype=np.int64), np.zeros(0)
    return Evaluations(whole, whole, real, real, whole, whole, whole, real)
