"""Reading rules: rules on one rack or feed, judged at the moment of each reading of `telemetry.power.v1`. Pure.

What is told is a function of the log of readings and of the idle notes alone; `ReadingRules` holds the state
and nobody else changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from schemas.alert import Alert
from streams.alert_state import Transitions, advance, at_rest, hush
from streams.condition import Ints, Series, judge
from streams.gauge import spread
from streams.rack_readings import Evaluations, pass_by, read
from streams.reading_state import nothing_read, silent_for
from streams.running_jobs import RunningJobs
from streams.telling import Facts, alerts_of, no_facts
from streams.watch import Watch


class IdleNote(NamedTuple):
    """Say that a power partition was idle at a place of its log; `reached` None = it is open."""

    offset: int
    reached: int | None


class ReadingRules:
    """Judge readings; `partitions` is the number of those of `telemetry.power.v1`."""

    def __init__(self, watch: Watch, partitions: int, jobs: RunningJobs) -> None:
        self.watch = watch
        self.machines = at_rest(len(watch.table))
        self.readings = nothing_read(watch.gauges, partitions)
        self.next_offsets: dict[int, int] = {}
        self.notes: dict[int, IdleNote] = {}
        self._jobs = jobs

    def read(self, readings: pl.DataFrame, next_offsets: Mapping[int, int]) -> list[Alert]:
        """Take admitted rows in log order by partition; return what is told.

        `next_offsets` is, by partition, the offset after the last message that came.
        """
        alerts: list[Alert] = []
        if len(readings):
            self.readings, evaluations = read(self.watch.gauges, self.readings, readings)
            alerts = self._judge(evaluations)
        self.next_offsets |= next_offsets
        return alerts + self.pass_idle()

    def note(self, partition: int, note: IdleNote) -> None:
        """Take an idle note; it counts from its place in the log of readings on."""
        self.notes[partition] = note

    def pass_idle(self) -> list[Alert]:
        """Apply the idle notes whose place in the log has been read: before it, readings are yet to come."""
        alerts: list[Alert] = []
        for partition, note in sorted(self.notes.items()):
            if self.next_offsets.get(partition, 0) >= note.offset:
                del self.notes[partition]
                if partition < len(self.readings.watermark):
                    self.readings, evaluations = pass_by(self.watch.gauges, self.readings, partition, note.reached)
                    alerts += self._judge(evaluations)
        return alerts + self._hush()

    def _judge(self, evaluations: Evaluations) -> list[Alert]:
        watch = self.watch
        rows, which = _expand(watch, evaluations.gauge)
        verdict = judge(
            evaluations.value[which], evaluations.high[which],
            watch.threshold[rows], watch.clear[rows], watch.is_below[rows],
        )  # fmt: skip
        series = Series(rows, evaluations.at[which], evaluations.value[which], verdict)
        facts = Facts(
            evaluations.value, evaluations.expected, evaluations.reporting,
            np.ones(len(evaluations.value), dtype=np.int64), evaluations.earlier_at, evaluations.earlier_value,
        )  # fmt: skip
        self.machines, happened = advance(watch.timing, self.machines, series)
        return self._told(happened, facts.pick(which))

    def _hush(self) -> list[Alert]:
        rows = self.machines.active
        if not len(rows):
            return []
        gone = silent_for(self.watch.gauges, self.readings)[self.watch.gauge[rows]]
        self.machines, happened = hush(self.watch.timing, self.machines, rows, self.machines.seen[rows] + gone)
        return self._told(happened, no_facts())

    def _told(self, happened: Transitions, facts: Facts) -> list[Alert]:
        return alerts_of(self.watch, happened, facts, self._jobs.causes_in(self.watch.registry))


def _expand(watch: Watch, gauge: Ints) -> tuple[Ints, Ints]:
    """Return (rule row, index of the evaluation) for every rule on each gauge, ordered by row and evaluation."""
    lists = watch.rows_of_gauge
    seen, first, count = np.unique(gauge, return_index=True, return_counts=True)
    begins = np.append(lists.first, len(lists.of))
    place = np.searchsorted(lists.some, seen)
    watched = np.diff(begins)[place]
    rows = lists.of[spread(begins[place], watched)]
    first, count = np.repeat(first, watched), np.repeat(count, watched)
    order = np.argsort(rows, kind="stable")
    rows, first, count = rows[order], first[order], count[order]
    return np.repeat(rows, count), spread(first, count)
