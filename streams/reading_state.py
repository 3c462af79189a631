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
from streams.gauge import AMPS, SECOND, Gauges

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


def silent_for(gauges: Gauges, state: ReadingState) -> Ints:
    """Return, per gauge, for how many µs its logs have gone on since it was last heard.

    0 where it was never heard, or where readings of it wait to be evaluated.
    """
    reached = np.append(state.watermark, LONG_AGO)[state.partition]
    gone = np.maximum(reached - np.maximum(state.mark, state.heard), 0)
    least = least_of(gauges, np.where(state.heard == LONG_AGO, FAR_AHEAD, gone))
    silent: Ints = np.where(least == FAR_AHEAD, 0, least)
    silent[gauges.gauge[state.waiting.input]] = 0
    return silent


def reached_by(state: ReadingState) -> Ints:
    """Return the watermarks, FAR_AHEAD where open, and last, where index −1 finds it, the least of all."""
    reached = np.where(state.is_open, FAR_AHEAD, state.watermark)
    return np.append(reached, reached.min(initial=FAR_AHEAD))


def shares_partition(gauges: Gauges, state: ReadingState) -> Bools:
    """Tell of each gauge whether all its inputs were heard, in one partition."""
    low = least_of(gauges, state.partition)
    shares: Bools = (low >= 0) & (low == -least_of(gauges, -state.partition))
    return shares


def passed_through(gauges: Gauges, state: ReadingState) -> Ints:
    """Return, per gauge, the time up to which no reading that is not late can come any more."""
    gauge, newest = gauges.gauge, state.newest[gauges.gauge]
    reached = reached_by(state)[state.partition]
    gone_on = reached + least_of(gauges, -state.mark)[gauge] > state.hold + PATIENCE_MICROSECONDS
    own = np.where(gone_on, newest, newest - state.hold)
    passed = np.maximum(state.heard, np.where(shares_partition(gauges, state)[gauge], own, reached - state.hold))
    passed[gauges.metric[gauges.gauge] == AMPS] = FAR_AHEAD
    return least_of(gauges, passed)


def least_of(gauges: Gauges, column: Ints) -> Ints:
    """Return, per gauge, the least of its inputs."""
    least: Ints = np.minimum.reduceat(column, gauges.first_input) if len(column) else column
    return least
