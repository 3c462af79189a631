"""Arrivals: what a drain of meter readings is to the inputs of gauges, and from when each reading counts. Pure.

A reading that comes in after its input was passed (streams/reading_state.py) is late: it counts from then
on and asks for no value. All this depends on the order within each partition only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schemas import canary
from streams.condition import Bools, Floats, Ints
from streams.gauge import AMPS, HELD_INTERVALS, POWER, SECOND, Gauges, Some, running_max
from streams.lists import begins
from streams.meter_rows import MeterRows
from streams.reading_state import LONG_AGO, PATIENCE_MICROSECONDS, ReadingState, Waiting, shares_partition


class Arrivals(NamedTuple):
    """Readings as they feed inputs; `nth` is the log order, `mark` the partition's watermark before the reading."""

    nth: Ints
    input: Ints
    time: Ints
    value: Floats
    is_good: Bools
    hold: Ints
    partition: Ints
    mark: Ints
    message: Ints

    def pick(self, chosen: Ints | Bools) -> Arrivals:
        """Return the readings that an index or a mask chooses."""
        return Arrivals._make(column[chosen] for column in self)


def arrivals(gauges: Gauges, state: ReadingState, readings: MeterRows) -> Arrivals:
    """Return what the readings are to the gauges' inputs, and move the watermarks on."""
    time, partition, message = readings.time, readings.partition, readings.offset
    is_canary = readings.meter == canary.METER_ID
    mark = _marks(state, np.where(is_canary, LONG_AGO, time), partition)
    parts = []
    for metric, value in ((POWER, readings.power), (AMPS, readings.current)):
        nth, fed = gauges.inputs_of(readings.meter, readings.phase, metric)
        is_measured = ~np.isnan(value[nth])
        nth, fed = nth[is_measured], fed[is_measured]
        said = np.rint(readings.interval[nth] * (HELD_INTERVALS * SECOND)).astype(np.int64)
        hold = np.where(said > 0, said, gauges.hold[fed])
        is_good = readings.is_good[nth]
        parts.append((nth, fed, time[nth], value[nth], is_good, hold, partition[nth], mark[nth], message[nth]))
    return Arrivals._make(np.concatenate(column) for column in zip(*parts, strict=True))


def _marks(state: ReadingState, time: Ints, partition: Ints) -> Ints:
    mark = np.empty_like(time)
    first = np.flatnonzero(begins(partition))
    ends = np.append(first, len(time))[1:]
    for each, start, end in zip(partition[first].tolist(), first.tolist(), ends.tolist(), strict=True):
        reached = np.maximum.accumulate(time[start:end])
        np.maximum(reached, state.watermark[each], out=reached)
        mark[start], mark[start + 1 : end] = state.watermark[each], reached[:-1]
        state.watermark[each], state.is_open[each] = reached[-1], False
    return mark


def accept(gauges: Gauges, state: ReadingState, rows: Arrivals, least: int) -> Waiting:
    """Drop what is not newer than its input, and say from when the rest counts; the state moves on.

    `least` is the watermark of all partitions before these readings.
    """
    rows = rows.pick(np.argsort(rows.input, kind="stable"))
    before = running_max(rows.input, rows.time, state.heard[rows.input])
    is_newer = rows.time > before
    rows, before = rows.pick(is_newer), before[is_newer]
    counts_from, is_trigger = _when_it_counts(gauges, state, rows, before, least)
    for column, values in ((state.heard, rows.time), (state.hold, rows.hold), (state.partition, rows.partition)):
        column[rows.input] = values
    state.mark[rows.input] = np.maximum(rows.mark, rows.time)
    np.maximum.at(state.newest, gauges.gauge[rows.input], rows.time)
    return Waiting(rows.input, rows.time, counts_from, is_trigger, rows.value, rows.is_good, rows.hold, rows.message)


def _when_it_counts(
    gauges: Gauges, state: ReadingState, rows: Arrivals, before: Ints, least: int
) -> tuple[Ints, Bools]:
    """Return from when each reading counts, and whether it asks for a value then: a late one does not."""
    gauge = gauges.gauge[rows.input]
    order = np.lexsort((rows.nth, gauge))
    newest = np.empty_like(rows.time)
    newest[order] = running_max(gauge[order], rows.time[order], state.newest[gauge[order]])

    is_first = before == LONG_AGO
    mark = np.minimum(rows.mark, least) if len(state.watermark) > 1 else rows.mark
    hold = state.hold[rows.input]
    again = np.flatnonzero(rows.input[1:] == rows.input[:-1]) + 1
    hold[again] = rows.hold[again - 1]
    some, of_row = gauges.among(gauge)
    shares = _shares_by_then(some, of_row, state, rows, is_first)
    heard = -some.least(-state.mark)[of_row]
    gone_on = rows.mark - _marks_before(gauge, heard, rows, order) > hold + PATIENCE_MICROSECONDS
    own = np.where(gone_on, newest, newest - hold)
    reached = np.where(is_first, mark - hold, np.where(shares, own, rows.mark - hold))
    passed = np.where(gauges.inputs[gauge] == 1, before, np.maximum(before, reached))
    is_late = rows.time <= passed
    is_worst = gauges.metric[gauge] == AMPS
    counts_from = np.where(is_worst, np.maximum(rows.time, newest), np.where(is_late, passed + 1, rows.time))
    return counts_from, is_worst | ~is_late


def _marks_before(gauge: Ints, heard: Ints, rows: Arrivals, order: Ints) -> Ints:
    """Return how far the log had gone when the gauge of each reading was heard before it; `order` is (gauge, nth).

    `heard`: how far it had gone when the gauge was heard before these readings.
    """
    gauge = gauge[order]
    before = np.append(LONG_AGO, np.maximum(rows.mark, rows.time)[order][:-1])[: len(gauge)]
    marks = np.empty_like(heard)
    marks[order] = np.where(begins(gauge), heard[order], before)
    return marks


def _shares_by_then(some: Some, of_row: Ints, state: ReadingState, rows: Arrivals, is_first: Bools) -> Bools:
    """Tell of each reading whether, at its place in the log, all inputs of its gauge were heard in one partition."""
    if not is_first.any():
        return shares_partition(state.partition, some)[of_row]
    heard_since = np.where(state.partition >= 0, -1, np.iinfo(np.int64).max)
    heard_since[rows.input[is_first]] = rows.nth[is_first]
    later = state.partition.copy()
    later[rows.input] = rows.partition
    shares: Bools = shares_partition(later, some)[of_row] & (rows.nth > -some.least(-heard_since)[of_row])
    return shares
