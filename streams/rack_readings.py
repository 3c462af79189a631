"""The values of gauges at the moment of each reading, in event-time order, independent of drains and partitions.

A gauge with one input has a value at each of its readings. One with several (a rack's A and B side) has
at time t the sum of each input's latest reading at or before t, held for three of its intervals, and is
evaluated at t once every input is *passed*: it has reported a time ≥ t, or its log has gone on beyond t
by the hold, so that it is silent. What comes in after its input was passed is late: it counts from then
on and changes nothing before. All this depends on the order within each partition only.

How far a log has gone is judged by the gauge's own inputs where they share a partition (one meter with
a wrong clock must not silence its neighbours) and, once all of them are silent, by how much further the
partition has gone since; where they do not share one, by the partitions' watermarks; for an input never
heard, by the watermark of all partitions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import polars as pl

from streams.condition import Bools, Floats, Ints
from streams.gauge import AMPS, HELD_INTERVALS, POWER, SECOND, Gauges, running_max

LONG_AGO = -(1 << 60)
PATIENCE = 10 * SECOND
"""How far a log goes on after the last reading of a gauge before what waits is evaluated without the others."""

FAR_AHEAD = 1 << 60
"""Before and after every time, and far enough from the ends of int64 to add and subtract holds."""

WAITING: dict[str, pl.DataType | type[pl.DataType]] = {
    "input": pl.Int64,
    "time": pl.Int64,
    "counts_from": pl.Int64,
    "is_trigger": pl.Boolean,
    "value": pl.Float64,
    "is_good": pl.Boolean,
    "hold": pl.Int64,
    "message": pl.Int64,
}
"""Readings accepted and not yet evaluated: they count from `counts_from`, and a trigger asks for a value there."""


@dataclass(frozen=True)
class ReadingState:
    """Hold what was read, per partition, input and gauge; times are UTC µs, LONG_AGO where nothing was.

    By partition: `watermark`, and `is_open` while it is idle without a clock. By input: `heard` the newest
    time, `partition` (−1 = never heard), `hold`, `mark` the partition's watermark when heard, and `shown_…`
    the reading that counts. By gauge: `newest` time heard, `told_at` and `told_value` of the last evaluation.
    And the readings `waiting` (WAITING).
    """

    watermark: Ints
    is_open: Bools
    heard: Ints
    partition: Ints
    hold: Ints
    mark: Ints
    shown_at: Ints
    shown_value: Floats
    shown_good: Bools
    shown_hold: Ints
    newest: Ints
    told_at: Ints
    told_value: Floats
    waiting: pl.DataFrame

    def copy(self) -> ReadingState:
        """Return a state that shares no array with this one."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "waiting"}
        return replace(self, **{name: column.copy() for name, column in columns.items()})


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


def nothing_read(gauges: Gauges, partitions: int) -> ReadingState:
    """Return the state before the first reading of `telemetry.power.v1` with so many partitions."""
    inputs, count = len(gauges.gauge), len(gauges.first_input)
    never = np.full(inputs, LONG_AGO)
    return ReadingState(
        watermark=np.full(partitions, LONG_AGO),
        is_open=np.zeros(partitions, dtype=bool),
        heard=never,
        partition=np.full(inputs, -1),
        hold=gauges.hold.copy(),
        mark=never.copy(),
        shown_at=never.copy(),
        shown_value=np.zeros(inputs),
        shown_good=np.zeros(inputs, dtype=bool),
        shown_hold=gauges.hold.copy(),
        newest=np.full(count, LONG_AGO),
        told_at=np.full(count, LONG_AGO),
        told_value=np.full(count, np.nan),
        waiting=pl.DataFrame(schema=WAITING),
    )


def read(gauges: Gauges, state: ReadingState, readings: pl.DataFrame) -> tuple[ReadingState, Evaluations]:
    """Take admitted readings, in log order by partition, and return the evaluations that they allow.

    `readings`: METER's columns with `_partition` and `_offset`. A reading that is not newer than its
    meter's newest changes nothing, so duplicates do not.
    """
    state, least = state.copy(), int(_reached(state)[-1])
    fresh = _accept(gauges, state, _arrivals(gauges, state, readings), least)
    return _evaluate(gauges, state, pl.concat([state.waiting, fresh]))


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


def silent_for(gauges: Gauges, state: ReadingState) -> Ints:
    """Return, per gauge, for how many µs its logs have gone on since it was last heard.

    0 where it was never heard, or where readings of it wait to be evaluated.
    """
    reached = np.append(state.watermark, LONG_AGO)[state.partition]
    gone = np.maximum(reached - np.maximum(state.mark, state.heard), 0)
    least = _least(gauges, np.where(state.heard == LONG_AGO, FAR_AHEAD, gone))
    silent: Ints = np.where(least == FAR_AHEAD, 0, least)
    silent[gauges.gauge[state.waiting["input"].to_numpy()]] = 0
    return silent


def _reached(state: ReadingState) -> Ints:
    """Return the watermarks, FAR_AHEAD where open, and last, where index −1 finds it, the least of all."""
    reached = np.where(state.is_open, FAR_AHEAD, state.watermark)
    return np.append(reached, reached.min(initial=FAR_AHEAD))


class _Arrivals(NamedTuple):
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

    def pick(self, chosen: Ints | Bools) -> _Arrivals:
        return _Arrivals._make(column[chosen] for column in self)


def _arrivals(gauges: Gauges, state: ReadingState, readings: pl.DataFrame) -> _Arrivals:
    """Return what the readings are to the gauges' inputs, and move the watermarks on."""
    time = readings["time"].cast(pl.Int64).to_numpy()
    partition = readings["_partition"].cast(pl.Int64).to_numpy()
    mark = _marks(state, time, partition)
    interval = readings["interval_seconds"].cast(pl.Float64).fill_null(0.0).to_numpy()
    is_good = (readings["quality"].fill_null(0) == 0).to_numpy()
    message = readings["_offset"].to_numpy()
    parts = []
    for metric, column in ((POWER, "power_watts"), (AMPS, "current_amps")):
        value = readings[column].to_numpy()
        nth, fed = gauges.inputs_of(readings["meter"].to_numpy(), readings["phase"].to_numpy(), metric)
        is_measured = ~np.isnan(value[nth])
        nth, fed = nth[is_measured], fed[is_measured]
        said = np.rint(interval[nth] * (HELD_INTERVALS * SECOND)).astype(np.int64)
        hold = np.where(said > 0, said, gauges.hold[fed])
        parts.append((nth, fed, time[nth], value[nth], is_good[nth], hold, partition[nth], mark[nth], message[nth]))
    return _Arrivals._make(np.concatenate(column) for column in zip(*parts, strict=True))


def _marks(state: ReadingState, time: Ints, partition: Ints) -> Ints:
    mark = np.empty_like(time)
    for each in np.unique(partition):
        rows = np.flatnonzero(partition == each)
        reached = np.maximum.accumulate(np.r_[state.watermark[each], time[rows]])
        mark[rows], state.watermark[each] = reached[:-1], reached[-1]
        state.is_open[each] = False
    return mark


def _accept(gauges: Gauges, state: ReadingState, rows: _Arrivals, least: int) -> pl.DataFrame:
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
    columns = (rows.input, rows.time, counts_from, is_trigger, rows.value, rows.is_good, rows.hold, rows.message)
    return pl.DataFrame(dict(zip(WAITING, columns, strict=True)), schema=WAITING)


def _when_it_counts(
    gauges: Gauges, state: ReadingState, rows: _Arrivals, before: Ints, least: int
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
    shares = _shares_by_then(gauges, state, rows, is_first)
    gone_on = rows.mark - _marks_before(gauges, state, rows, order) > hold + PATIENCE
    own = np.where(gone_on, newest, newest - hold)
    reached = np.where(is_first, mark - hold, np.where(shares, own, rows.mark - hold))
    passed = np.where(gauges.inputs[gauge] == 1, before, np.maximum(before, reached))
    is_late = rows.time <= passed
    is_worst = gauges.metric[gauge] == AMPS
    counts_from = np.where(is_worst, np.maximum(rows.time, newest), np.where(is_late, passed + 1, rows.time))
    return counts_from, is_worst | ~is_late


def _marks_before(gauges: Gauges, state: ReadingState, rows: _Arrivals, order: Ints) -> Ints:
    """Return how far the log had gone when the gauge of each reading was heard before it; `order` is (gauge, nth)."""
    gauge = gauges.gauge[rows.input][order]
    begins = np.append(True, gauge[1:] != gauge[:-1])[: len(gauge)]
    heard = -_least(gauges, -state.mark)[gauge]
    before = np.append(LONG_AGO, np.maximum(rows.mark, rows.time)[order][:-1])[: len(gauge)]
    marks = np.empty_like(heard)
    marks[order] = np.where(begins, heard, before)
    return marks


def _shares_by_then(gauges: Gauges, state: ReadingState, rows: _Arrivals, is_first: Bools) -> Bools:
    """Tell of each reading whether, at its place in the log, all inputs of its gauge were heard in one partition."""
    gauge = gauges.gauge[rows.input]
    if not is_first.any():
        return _shares_partition(gauges, state)[gauge]
    heard_since = np.where(state.partition >= 0, -1, np.iinfo(np.int64).max)
    heard_since[rows.input[is_first]] = rows.nth[is_first]
    later = replace(state, partition=state.partition.copy())
    later.partition[rows.input] = rows.partition
    shares: Bools = _shares_partition(gauges, later)[gauge] & (rows.nth > -_least(gauges, -heard_since)[gauge])
    return shares


def _shares_partition(gauges: Gauges, state: ReadingState) -> Bools:
    """Tell of each gauge whether all its inputs were heard, in one partition."""
    low = _least(gauges, state.partition)
    shares: Bools = (low >= 0) & (low == -_least(gauges, -state.partition))
    return shares


def _passed(gauges: Gauges, state: ReadingState) -> Ints:
    """Return, per gauge, the time up to which no reading that is not late can come any more."""
    gauge, newest = gauges.gauge, state.newest[gauges.gauge]
    reached = _reached(state)[state.partition]
    gone_on = reached + _least(gauges, -state.mark)[gauge] > state.hold + PATIENCE
    own = np.where(gone_on, newest, newest - state.hold)
    passed = np.maximum(state.heard, np.where(_shares_partition(gauges, state)[gauge], own, reached - state.hold))
    passed[gauges.metric[gauges.gauge] == AMPS] = FAR_AHEAD
    return _least(gauges, passed)


def _least(gauges: Gauges, column: Ints) -> Ints:
    """Return, per gauge, the least of its inputs."""
    least: Ints = np.minimum.reduceat(column, gauges.first_input) if len(column) else column
    return least


def _evaluate(gauges: Gauges, state: ReadingState, rows: pl.DataFrame) -> tuple[ReadingState, Evaluations]:
    if rows.is_empty():
        return replace(state, waiting=rows), _no_evaluations()
    gauge = gauges.gauge[rows["input"].to_numpy()]
    is_due = rows["counts_from"].to_numpy() <= _passed(gauges, state)[gauge]
    state = replace(state, waiting=rows.filter(~is_due))
    rows, gauge = rows.filter(is_due), gauge[is_due]
    order = np.lexsort((rows["message"].to_numpy(), rows["counts_from"].to_numpy(), gauge))
    rows, gauge = rows[order], gauge[order]
    ends = _moments(gauges, state, rows, gauge)
    evaluations = _values(gauges, state, rows, gauge, ends)
    _show(state, rows)
    return state, _after_the_earlier(state, evaluations)


def _moments(gauges: Gauges, state: ReadingState, rows: pl.DataFrame, gauge: Ints) -> Ints:
    """Return the last row of each moment at which a gauge is evaluated."""
    at, message = rows["counts_from"].to_numpy(), rows["message"].to_numpy()
    is_worst = gauges.metric[gauge] == AMPS
    changes = (gauge[1:] != gauge[:-1]) | (at[1:] != at[:-1]) | (is_worst[1:] & (message[1:] != message[:-1]))
    first = np.flatnonzero(np.r_[True, changes][: len(gauge)])
    if not len(first):
        return first
    is_asked = np.logical_or.reduceat(rows["is_trigger"].to_numpy(), first)
    is_asked &= at[first] > state.told_at[gauge[first]] - is_worst[first]
    last: Ints = np.append(first[1:], len(gauge)) - 1
    return last[is_asked]


def _values(gauges: Gauges, state: ReadingState, rows: pl.DataFrame, gauge: Ints, ends: Ints) -> Evaluations:
    """Return the value of each moment: the sum, or the worst, of what its inputs show then."""
    fed, nth = rows["input"].to_numpy(), np.arange(len(gauge))
    begins = np.searchsorted(gauge, gauge[ends])
    which, at = gauge[ends], rows["counts_from"].to_numpy()[ends]
    is_worst = gauges.metric[which] == AMPS
    value, reporting, silent = np.zeros(len(ends)), np.zeros(len(ends), dtype=np.int64), np.zeros(len(ends), dtype=bool)
    for place in range(int(gauges.inputs[which].max(initial=0))):
        latest = np.maximum.accumulate(np.where(fed - gauges.first_input[gauge] == place, nth, -1))[ends]
        slot = np.minimum(gauges.first_input[which] + place, len(gauges.gauge) - 1)
        shown = _Shown.of(state, rows, slot, np.where(latest >= begins, latest, -1))
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
    def of(cls, state: ReadingState, rows: pl.DataFrame, inputs: Ints, latest: Ints) -> _Shown:
        columns = zip(
            ("time", "value", "is_good", "hold"),
            (state.shown_at, state.shown_value, state.shown_good, state.shown_hold),
            strict=True,
        )
        return cls(
            *(
                np.where(latest >= 0, rows[name].to_numpy()[latest] if len(rows) else kept[inputs], kept[inputs])
                for name, kept in columns
            )
        )


def _show(state: ReadingState, rows: pl.DataFrame) -> None:
    # Of rows with one input the last one stays: NumPy assigns repeated indices in order.
    fed = rows["input"].to_numpy()
    state.shown_at[fed], state.shown_value[fed] = rows["time"].to_numpy(), rows["value"].to_numpy()
    state.shown_good[fed], state.shown_hold[fed] = rows["is_good"].to_numpy(), rows["hold"].to_numpy()


def _after_the_earlier(state: ReadingState, told: Evaluations) -> Evaluations:
    """Return the evaluations with the one before each; the state remembers the last of each gauge."""
    if not len(told.gauge):
        return told
    begins = np.r_[True, told.gauge[1:] != told.gauge[:-1]]
    earlier_at = np.where(begins, state.told_at[told.gauge], np.r_[0, told.at[:-1]])
    earlier_value = np.where(begins, state.told_value[told.gauge], np.r_[0.0, told.value[:-1]])
    state.told_at[told.gauge], state.told_value[told.gauge] = told.at, told.value
    return told._replace(earlier_at=earlier_at, earlier_value=earlier_value)


def _no_evaluations() -> Evaluations:
    whole, real = np.zeros(0, dtype=np.int64), np.zeros(0)
    return Evaluations(whole, whole, real, real, whole, whole, whole, real)
