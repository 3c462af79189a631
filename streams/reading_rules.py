"""Reading rules: rules on one rack or feed, judged at the moment of each reading of `telemetry.power.v1`. Pure.

What is told is a function of the log of readings and of the idle notes alone; `ReadingRules` holds the state
and nobody else changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from schemas import canary
from schemas.alert import Alert
from schemas.timeline import EVER
from streams.alert_state import Transitions, advance, at_rest, hush
from streams.carry import carried_machines, carried_readings
from streams.condition import Ints, Series, judge
from streams.gauge import spread
from streams.job_book import JobBook
from streams.lists import begins
from streams.meter_rows import MeterRows, in_log_order
from streams.rack_readings import Evaluations, pass_by, read, settle
from streams.reading_state import nothing_read, silent_for
from streams.running_jobs import RunningJobs
from streams.telling import Facts, alerts_of, no_facts
from streams.watch import Watch
from streams.watches import Watches


class IdleNote(NamedTuple):
    """Say that a power partition was idle at a place of its log; `reached` None = it is open."""

    offset: int
    reached: int | None


class ReadingRules:
    """Judge readings; `partitions` is the number of those of `telemetry.power.v1`.

    A new facility counts from a second on, and partitions reach it one after the other. The first reading of
    that second or a later one is where a partition turns: from there its readings are held until every
    partition has got so far, by a reading or an idle note. Then all turn at once, so that the place is a
    function of the logs. `since` is the second from which the watch in force counts.
    """

    def __init__(self, watches: Watches, partitions: int, book: JobBook, since: int = EVER) -> None:
        self.since = since
        self.watch = watches.at(since)
        self.machines = at_rest(len(self.watch.table))
        self.readings = nothing_read(self.watch.gauges, partitions)
        self.notes: dict[int, IdleNote] = {}
        self._watches = watches
        self._jobs = RunningJobs(book)
        self._came: dict[int, int] = {}
        self._held: list[MeterRows] = []
        self._held_at: dict[int, int] = {}

    @property
    def next_offsets(self) -> dict[int, int]:
        """Return, by partition, where to read on after a restart: at the first message that is held, if any is."""
        return self._came | self._held_at

    def go_on_at(self, next_offsets: Mapping[int, int]) -> None:
        """Note that partitions are read on at these offsets, whatever lay before them."""
        self._came |= next_offsets

    def follow(self, watches: Watches) -> list[Alert]:
        """Know a longer timeline; return what is told at once, where it changes what was thought to be in force."""
        self._watches = watches
        if watches.at(self.since) is not self.watch:
            return self._turn_to(self.since)
        return []

    def read(self, readings: MeterRows, next_offsets: Mapping[int, int]) -> list[Alert]:
        """Take admitted rows in log order by partition; return what is told.

        `next_offsets` is, by partition, the offset after the last message that came.
        """
        alerts = self._read(readings)
        self._came |= next_offsets
        return alerts + self.pass_idle()

    def note(self, partition: int, note: IdleNote) -> None:
        """Take an idle note; it counts from its place in the log of readings on."""
        self.notes[partition] = note

    def pass_idle(self) -> list[Alert]:
        """Apply the idle notes whose place in the log has been read: before it, readings are yet to come."""
        alerts = self._apply_notes()
        while (second := self._watches.change_after(self.since)) is not None and self._has_reached(second):
            alerts += self._turn_to(second) + self._release() + self._apply_notes()
        return alerts + self._hush()

    def _read(self, readings: MeterRows) -> list[Alert]:
        readings = self._hold(readings)
        if not len(readings.time):
            return []
        self.readings, evaluations = read(self.watch.gauges, self.readings, readings)
        return self._judge(evaluations)

    def _hold(self, readings: MeterRows) -> MeterRows:
        """Keep what lies behind the place where its partition turns; return the rest."""
        second = self._watches.change_after(self.since)
        if second is None or not len(readings.time):
            return readings
        partition = readings.partition
        # The canary's clock is ours: it must not turn a partition of sources whose clocks are behind.
        is_there = (readings.time >= second) & (readings.meter != canary.METER_ID)
        is_held = np.isin(partition, list(self._held_at))
        for turning in np.unique(partition[is_there & ~is_held]).tolist():
            rows = np.flatnonzero(partition == turning)
            rows = rows[int(np.argmax(is_there[rows])) :]
            self._held_at[turning] = int(readings.offset[rows[0]])
            is_held[rows] = True
        if not is_held.any():
            return readings
        self._held.append(readings.pick(is_held))
        return readings.pick(~is_held)

    def _release(self) -> list[Alert]:
        held, self._held, self._held_at = self._held, [], {}
        return self._read(in_log_order(held)) if held else []

    def _has_reached(self, second: int) -> bool:
        reached = self.readings.is_open | (self.readings.watermark >= second)
        reached[list(self._held_at)] = True
        return bool(reached.all())

    def _turn_to(self, second: int) -> list[Alert]:
        """Judge what waits for a moment before the second, then go on with what is watched from it on."""
        before = self.watch
        self.readings, evaluations = settle(before.gauges, self.readings, second)
        alerts = self._judge(evaluations) + self._hush()
        self.watch, self.since = self._watches.at(second), second
        self.readings = carried_readings(before.gauges, self.readings, self.watch.gauges)
        self.machines, ends = carried_machines(before, self.machines, self.watch, self.watch.gauge >= 0)
        return alerts + ends

    def _apply_notes(self) -> list[Alert]:
        alerts: list[Alert] = []
        next_offsets = self.next_offsets
        for partition, note in sorted(self.notes.items()):
            if next_offsets.get(partition, 0) >= note.offset:
                del self.notes[partition]
                if partition < len(self.readings.watermark):
                    self.readings, evaluations = pass_by(self.watch.gauges, self.readings, partition, note.reached)
                    alerts += self._judge(evaluations)
        return alerts

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
        gauges = self.watch.gauges
        some, of_row = gauges.among(self.watch.gauge[rows])
        gone = silent_for(gauges, self.readings, some)[of_row]
        self.machines, happened = hush(self.watch.timing, self.machines, rows, self.machines.seen[rows] + gone)
        return self._told(happened, no_facts())

    def _told(self, happened: Transitions, facts: Facts) -> list[Alert]:
        return alerts_of(self.watch, happened, facts, self._jobs.causes_in(self.watch.registry))


def _expand(watch: Watch, gauge: Ints) -> tuple[Ints, Ints]:
    """Return (rule row, index of the evaluation) for every rule on each gauge, ordered by row and evaluation."""
    lists = watch.rows_of_gauge
    first = np.flatnonzero(begins(gauge))
    count = np.diff(np.append(first, len(gauge)))
    place = np.searchsorted(lists.some, gauge[first])
    watched = lists.counts[place]
    rows = lists.of[spread(lists.first[place], watched)]
    first, count = np.repeat(first, watched), np.repeat(count, watched)
    order = np.argsort(rows, kind="stable")
    rows, first, count = rows[order], first[order], count[order]
    return np.repeat(rows, count), spread(first, count)
