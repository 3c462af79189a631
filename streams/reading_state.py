"""The state of reading rules: what each input and gauge was heard to say, and how far logs have gone. Pure.

How far a log has gone is judged by the gauge's own inputs where they share a partition (one meter with
a wrong clock must not silence its neighbours) and, once all of them are silent, by how much further the
partition has gone since; where they do not share one, by the partitions' watermarks; for an input never
heard, by the watermark of all partitions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from streams.condition import Bools, Floats, Ints
from streams.gauge import AMPS, SECOND, Gauges, Some

LONG_AGO = -(1 << 60)
FAR_AHEAD = 1 << 60
"""Before and after every time, and far enough from the ends of int64 to add and subtract holds."""

PATIENCE_MICROSECONDS = 10 * SECOND
"""How far a log goes on after the last reading of a gauge before what waits is evaluated without the others."""


class Waiting(NamedTuple):
    """Hold readings accepted and not yet evaluated, as columns; times in UTC µs.

    A reading of `time` counts from `counts_from`; a trigger asks for a value then. `hold` in µs.
    """

    input: Ints
    time: Ints
    counts_from: Ints
    is_trigger: Bools
    value: Floats
    is_good: Bools
    hold: Ints
    message: Ints

    def pick(self, chosen: Ints | Bools) -> Waiting:
        """Return the readings that an index or a mask chooses."""
        return Waiting._make(column[chosen] for column in self)

    def then(self, more: Waiting) -> Waiting:
        """Return these and after them `more`."""
        if not len(self.input):
            return more
        return Waiting._make(np.concatenate(pair) for pair in zip(self, more, strict=True))


def nothing_waits() -> Waiting:
    """Return no reading."""
    whole, flag = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
    return Waiting(whole, whole, whole, flag, np.zeros(0), flag, whole, whole)


INPUT_COLUMNS = ("heard", "partition", "hold", "mark", "shown_at", "shown_value", "shown_good", "shown_hold")
GAUGE_COLUMNS = ("newest", "told_at", "told_value")


@dataclass(frozen=True)
class ReadingState:
    """Hold what was read, per partition, input and gauge; times are UTC µs, LONG_AGO where nothing was.

    By partition: `watermark`, and `is_open` while it is idle without a clock. By input: `heard` the newest
    time, `partition` (−1 = never heard), `hold`, `mark` the partition's watermark when heard, and `shown_…`
    the reading that counts. By gauge: `newest` time heard, `told_at` and `told_value` of the last evaluation.
    And the readings that wait.
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
    waiting: Waiting

    def copy(self) -> ReadingState:
        """Return a state that shares no array with this one."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "waiting"}
        return replace(self, **{name: column.copy() for name, column in columns.items()})


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
        waiting=nothing_waits(),
    )


def silent_for(gauges: Gauges, state: ReadingState, some: Some) -> Ints:
    """Return, for each of some gauges, for how many µs its logs have gone on since it was last heard.

    0 where it was never heard, or where readings of it wait to be evaluated.
    """
    heard, mark = state.heard[some.inputs], state.mark[some.inputs]
    reached = np.append(state.watermark, LONG_AGO)[state.partition[some.inputs]]
    gone = np.where(heard == LONG_AGO, FAR_AHEAD, np.maximum(reached - np.maximum(mark, heard), 0))
    least = np.minimum.reduceat(gone, some.first) if len(gone) else gone
    waits = np.isin(some.gauge, gauges.gauge[state.waiting.input])
    silent: Ints = np.where((least == FAR_AHEAD) | waits, 0, least)
    return silent


def reached_by(state: ReadingState) -> Ints:
    """Return the watermarks, FAR_AHEAD where open, and last, where index −1 finds it, the least of all."""
    reached = np.where(state.is_open, FAR_AHEAD, state.watermark)
    return np.append(reached, reached.min(initial=FAR_AHEAD))


def shares_partition(partition: Ints, some: Some) -> Bools:
    """Tell of each of some gauges whether all its inputs were heard, in one partition; `partition` is by input."""
    low = some.least(partition)
    shares: Bools = (low >= 0) & (low == -some.least(-partition))
    return shares


def passed_through(gauges: Gauges, state: ReadingState, some: Some) -> Ints:
    """Return, for each of some gauges, the time up to which no reading that is not late can come any more."""
    inputs = some.inputs
    newest, hold, mark = state.newest[some.gauge][some.nth], state.hold[inputs], state.mark[inputs]
    reached = reached_by(state)[state.partition[inputs]]
    gone_on = reached - np.maximum.reduceat(mark, some.first)[some.nth] > hold + PATIENCE_MICROSECONDS
    own = np.where(gone_on, newest, newest - hold)
    shares = shares_partition(state.partition, some)[some.nth]
    passed = np.maximum(state.heard[inputs], np.where(shares, own, reached - hold))
    passed[gauges.metric[some.gauge][some.nth] == AMPS] = FAR_AHEAD
    least: Ints = np.minimum.reduceat(passed, some.first)
    return least
