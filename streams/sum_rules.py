"""Sum rules and windows: closed seconds of all subjects, put together from partials. Pure.

What is told is a function of the log of partials alone: rules are judged on what closed, in the order in
which it closed; a revision changes windows and never an alert. `SumRules` holds the state and nobody else
changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl

from schemas.alert import Alert
from schemas.job import Job, Placed
from schemas.partial import Envelope
from schemas.recomputation import Asked, Reason
from schemas.subject import SubjectKind
from streams.alert_state import Transitions, advance, at_rest, hush
from streams.carry import carried_machines, realigned
from streams.closings import NOTHING, Closed, Closings, Stream
from streams.condition import Series, judge
from streams.devices import DeviceMinutes, SiteMinute, Telling
from streams.job_book import JobBook
from streams.job_sums import JobSums
from streams.late_spans import LateSpans
from streams.lists import begins
from streams.members import Members
from streams.minutes import MINUTE, heard, minutes_of, silent_sites, windows_of
from streams.ramps import Ramp, RecentPower
from streams.reading_state import LONG_AGO
from streams.running_jobs import RunningJobs
from streams.site_windows import Kind, SiteWindows
from streams.sums import MISSING, SECOND, Block, Sources, silence, subjects_of
from streams.telling import Facts, alerts_of, no_facts
from streams.watch import Watch
from streams.watches import Watches

ROWS_AT_ONCE = 120_000
"""WINDOW rows that one call of `close` leads to, so that a replay of hours holds up no reading for long."""
ROWS_A_MESSAGE = 12_000
"""WINDOW rows in one message: about 2 MB of Arrow."""
ROWS_OF_MINUTES = 2_000
"""Rows of minutes of GPUs and of histograms after which a call of `close` ends where nothing else waits."""


class Output(NamedTuple):
    """Hold what is to be sent, in order."""

    alerts: list[Alert]
    windows: list[SiteWindows]
    minutes: Sequence[SiteMinute] = ()
    """Of GPUs and nodes, and histograms."""


class SumRules:
    """Judge sums and tell windows.

    `streams` are the partitions of all telemetry topics. `told_through` is the end of the seconds whose
    alerts and windows were sent; what is read again of them only fills memory. `book` are the jobs that have
    windows, and `heard` up to which of their records these were told.
    """

    def __init__(
        self,
        watches: Watches,
        streams: Iterable[Stream],
        book: JobBook,
        told_through: int = NOTHING,
        *,
        heard: int = 0,
    ) -> None:
        self.watch = watches.at(told_through - SECOND)
        self.machines = at_rest(len(self.watch.table))
        self.closings = Closings(streams)
        self.devices = DeviceMinutes()
        self.devices.know(self.watch.registry, self.watch.members)
        self.told_through = told_through
        self._watches = watches
        self._jobs = RunningJobs(book)
        self._kept: dict[int, _Kept] = {}
        self._silence: _Kept | None = None
        self._again: set[int] = set()
        """Minutes to be told again because a second of them was revised."""
        self._recent = RecentPower(self.watch.members)
        self.jobs = JobSums(book, heard, told_through)

    def follow(self, watches: Watches) -> None:
        """Know a longer timeline; seconds that are told stay as they are."""
        self._watches = watches
        self.jobs.book.follow(watches.timeline.places)

    def take(self, offset: int, envelope: Envelope, rows: pl.DataFrame) -> None:
        """Take one message of `windows.rack.v1` in log order."""
        self.devices.take(envelope, rows, self.closings.open_from, self.closings.pieces_through)
        self.closings.take(offset, envelope, rows)

    def take_jobs(self, offset: int, rows: pl.DataFrame) -> None:
        """Take one message of `windows.rack.v1` that carries seconds of jobs, in log order."""
        self.closings.pass_by(offset, self.jobs.take(rows, self.closings.kept_from, self.closings.reached))

    def hear_jobs(self, records: Iterable[Placed[Job]], through: int) -> None:
        """Take records of jobs in log order and the offset after the last message."""
        self.jobs.hear(records, through, self.told_through)

    @property
    def is_behind(self) -> bool:
        """Tell whether `close` has more to close."""
        return self.closings.is_behind or self.devices.is_behind(self.closings.pieces_through)

    @property
    def is_full(self) -> bool:
        """Tell whether as much is closed as one call of `close` tells, so that more would only be held in memory."""
        return self.closings.is_behind_by(self._seconds_at_once) or self._is_minutes_behind

    @property
    def _is_minutes_behind(self) -> bool:
        """Tell whether a minute of GPUs is not told though the one after it could be, too."""
        return self.devices.is_behind(self.closings.pieces_through - MINUTE)

    @property
    def _seconds_at_once(self) -> int:
        return max(1, ROWS_AT_ONCE // max(1, len(self.watch.members.subjects)))

    @property
    def is_settled(self) -> bool:
        """Tell whether all is told of what is closed: minutes wait for the pieces of their last seconds."""
        return not self.closings.is_behind and not self.devices.is_waiting

    def close(self) -> Output:
        """Close what can be closed; return what is told, and the windows of what closed or was revised.

        Of very many seconds it closes some and `is_behind` stays true.
        """
        alerts: list[Alert] = []
        windows: list[SiteWindows] = []
        if (closed := self.closings.close(self._seconds_at_once)) is not None:
            alerts, windows = self._closed(closed)
        windows += self._revised(self.closings.revised())
        windows += self._revised_minutes()
        windows += self.jobs.revised(self._watches, self.told_through, self.closings.evaluated)
        at_most = ROWS_AT_ONCE if self.closings.is_behind else ROWS_OF_MINUTES
        minutes = self.devices.told(at_most, self.closings.pieces_through)
        self._forget()
        return Output(alerts, windows, minutes)

    def lose(self, offset: int) -> None:
        """Go on at `offset` of the log of partials; what it said before is lost."""
        self.closings = self.closings.going_on_at(offset, self.told_through)

    @property
    def is_asking(self) -> bool:
        """Tell whether `asks` has something to ask for."""
        closings = self.closings
        return bool(closings.late or closings.lost or closings.conflicts or self.devices.torn)

    def asks(self) -> list[Asked]:
        """Return the requests for what came after its second was forgotten, was gone, or contradicts itself."""
        if self.closings.newest is None:
            return []
        (topic, number), offset = self.closings.newest
        reasons: tuple[tuple[Reason, LateSpans], ...] = (
            ("late", self.closings.late),
            ("lost", self.closings.lost),
            ("conflict", self.closings.conflicts),
            ("conflict", self.devices.torn),
        )
        return [
            Asked(None, first * SECOND, end * SECOND, reason, topic, number, offset)
            for reason, spans in reasons
            for first, end in spans.take()
        ]

    def ramps(self, second: int) -> dict[int, Ramp]:
        """Return how the power of each subject changed in the 1, 5 and 30 s up to a closed second (streams.ramps)."""
        return self._recent.ramps(second)

    def _assembled(self, watch: Watch, rows: pl.DataFrame) -> Iterator[Block]:
        """Assemble rows, ordered by second, by as many whole seconds as fit into one message."""
        members = watch.members
        for part in _stretches(rows, max(1, ROWS_A_MESSAGE // max(1, len(members.subjects)))):
            sources = Sources(members, part)
            torn = sources.contradicted // SECOND
            self.closings.conflicts.note(torn, torn + 1)
            if members is self._recent.members:
                self._recent.keep(sources.seconds, sources.whole_power)
            yield subjects_of(sources)

    def _closed(self, closed: Closed) -> tuple[list[Alert], list[SiteWindows]]:
        alerts: list[Alert] = []
        windows: list[SiteWindows] = []
        for start, end, watch in self._watches.between(closed.first_second, closed.end_second):
            told = self._closed_in(watch, closed.within(start, end))
            alerts += told.alerts
            windows += told.windows
        return alerts, windows

    def _closed_in(self, watch: Watch, closed: Closed) -> Output:
        """Take closed seconds in all of which one facility is in force."""
        is_new = closed.end_second > self.told_through
        alerts = self._turn_to(watch) if is_new else []
        windows: list[SiteWindows] = []
        for block in self._assembled(watch, closed.rows):
            self._keep(watch, block)
            new = block.at(slice(int(np.searchsorted(block.seconds, self.told_through)), None))
            if len(new.seconds):
                alerts += self._judge(new)
                windows += self._windows(watch, new, "closing", 1, closed.missing)
            silent = silent_sites(block, watch.members.site, _sites(watch))
            windows += self.jobs.close(silent, watch.registry, self.told_through, closed.missing)
        if is_new:
            windows = windows or self._nothing_heard(max(closed.first_second, self.told_through), closed)
            alerts += self._hush(closed.end_second - SECOND)
            windows += self._minutes(self.told_through, closed.end_second, closed.missing)
            windows += self.jobs.minutes(self._watches, self.told_through, closed.end_second, closed.missing)
            self.told_through = closed.end_second
        return Output(alerts, windows)

    def _turn_to(self, watch: Watch) -> list[Alert]:
        """Judge by the watch of the seconds that come; all before them are judged, and their silences noted."""
        if watch is self.watch:
            return []
        self.machines, ends = carried_machines(self.watch, self.machines, watch, watch.subject >= 0)
        self.watch, self._recent = watch, RecentPower(watch.members)
        return ends

    def _keep(self, watch: Watch, block: Block) -> None:
        self._kept |= {int(second): _Kept(watch, block.at(index)) for index, second in enumerate(block.seconds)}

    def _judge(self, block: Block) -> list[Alert]:
        """Judge sum rules on whole seconds; a second in which nothing of a subject is known is no evaluation."""
        watch, rows = self.watch, np.flatnonzero(self.watch.subject >= 0)
        subject = watch.subject[rows]
        power, high = block.power[:, subject].T, block.high[:, subject].T
        nth, second = np.nonzero(power != MISSING)
        value, bound = power[nth, second] / 1000, high[nth, second]
        row = rows[nth]
        bounded = np.where(bound == MISSING, np.inf, bound / 1000)
        verdict = judge(value, bounded, watch.threshold[row], watch.clear[row], watch.is_below[row])
        whose = subject[nth]
        facts = Facts(
            value, block.expected[second, whose], block.reporting[second, whose],
            watch.members.basis[whose].astype(np.int64), np.full(len(row), LONG_AGO), np.full(len(row), np.nan),
        )  # fmt: skip
        series = Series(row, block.seconds[second], value, verdict)
        self.machines, happened = advance(watch.timing, self.machines, series)
        return self._told(happened, facts)

    def _hush(self, now: int) -> list[Alert]:
        rows = self.machines.active
        self.machines, happened = hush(self.watch.timing, self.machines, rows, np.full(len(rows), now))
        return self._told(happened, no_facts())

    def _revised(self, rows: pl.DataFrame) -> list[SiteWindows]:
        if rows.is_empty():
            return []
        windows: list[SiteWindows] = []
        seconds = rows["second"].cast(pl.Int64)
        for start, end, watch in self._watches.between(int(seconds[0]), int(seconds[-1]) + SECOND):
            for block in self._assembled(watch, rows.filter(seconds.is_between(start, end, closed="left"))):
                self._keep(watch, block)
                windows += self._windows(watch, block, "revision", 1, ())
                silent = silent_sites(block, watch.members.site, _sites(watch))
                windows += self.jobs.revise(silent)
        self._again |= {int(second) // MINUTE * MINUTE for second in seconds.unique()}
        return windows

    def _revised_minutes(self) -> list[SiteWindows]:
        """Return the revised minutes that were told before, each once all of it is closed.

        After a restart the seconds of a minute that an earlier life told close one after the other: made of some of
        them it would be poorer than what was told, and what the earlier life could not tell any more would be lost.
        """
        told = {minute for minute in self._again if minute + MINUTE <= self.told_through}
        ready = sorted(minute for minute in told if minute + MINUTE <= self.closings.evaluated)
        self._again = told - set(ready)
        return [
            each for minute in ready for each in self._minutes(minute + MINUTE - 1, minute + MINUTE, (), "revision")
        ]

    def _minutes(self, after: int, end: int, missing: tuple[Stream, ...], kind: Kind = "closing") -> list[SiteWindows]:
        """Return the minutes that end in `(after, end]`: each of the subjects that there are in its last second."""
        windows: list[SiteWindows] = []
        last_seconds = {second: second // MINUTE * MINUTE + MINUTE - SECOND for second in sorted(self._kept)}
        chosen = [second for second, last in last_seconds.items() if after < last + SECOND <= end]
        if not chosen:
            return []
        for start, stop, watch in self._watches.between(last_seconds[chosen[0]], last_seconds[chosen[-1]] + SECOND):
            ends = sorted({last_seconds[second] for second in chosen if start <= last_seconds[second] < stop})
            if ends:
                of_seconds = Block.stacked([self._second(each).of(watch) for end in ends for each in _minute_to(end)])
                minutes = minutes_of(of_seconds)
                why = Telling(NOTHING, kind, missing)
                self.devices.close(watch.registry, watch.members, of_seconds, minutes, why)
                windows += _without_nodes(self._windows(watch, minutes, kind, 60, missing))
        return windows

    def _second(self, second: int) -> _Kept:
        """Return a closed second; one of which nothing is kept is one in which no source of any site spoke."""
        if second in self._kept:
            return self._kept[second]
        watch = self._watches.at(second)
        if self._silence is None or self._silence.watch is not watch:
            self._silence = _Kept(watch, silence(watch.members))
        return self._silence._replace(block=replace(self._silence.block, seconds=np.array([second])))

    def _windows(
        self, watch: Watch, block: Block, kind: Kind, every: int, missing: tuple[Stream, ...]
    ) -> list[SiteWindows]:
        """Return the windows by site; of a second in which no source of a site spoke it has no rows."""
        rows, site = windows_of(watch.members, block, every_seconds=every), watch.members.site
        first, end = int(block.seconds[0]), int(block.seconds[-1]) + every * SECOND
        is_heard, windows = heard(block, site), []
        for which, name in _sites(watch).items():
            theirs = is_heard & (site == which)
            chosen = rows if theirs.all() else rows.filter(theirs.ravel())
            windows.append(SiteWindows(name, kind, every, first, end, missing, chosen))
        return windows

    def _nothing_heard(self, first: int, closed: Closed) -> list[SiteWindows]:
        rows = windows_of(self.watch.members, _no_block(self.watch.members), every_seconds=1)
        return [
            SiteWindows(name, "closing", 1, first, closed.end_second, closed.missing, rows)
            for name in _sites(self.watch).values()
        ]

    def _told(self, happened: Transitions, facts: Facts) -> list[Alert]:
        return alerts_of(self.watch, happened, facts, self._jobs.causes_in(self.watch.registry))

    def _forget(self) -> None:
        for second in [second for second in self._kept if second < self.closings.kept_from]:
            del self._kept[second]
        self.devices.forget(self.closings.kept_from)
        self.jobs.forget(self.closings.kept_from)


class _Kept(NamedTuple):
    """One closed second, and what is watched in it."""

    watch: Watch
    block: Block

    def of(self, watch: Watch) -> Block:
        """Return the second as one of the subjects of another watch."""
        return self.block if watch is self.watch else realigned(self.block, self.watch.members, watch.members)


def _without_nodes(windows: list[SiteWindows]) -> list[SiteWindows]:
    """Leave out the minutes of metered nodes: streams.devices tells them with what their GPUs say."""
    return [each._replace(rows=each.rows.filter(pl.col("subject_kind") != SubjectKind.NODE)) for each in windows]


def _minute_to(last_second: int) -> range:
    """Return the seconds of the minute whose last second this is."""
    return range(last_second + SECOND - MINUTE, last_second + SECOND, SECOND)


def _sites(watch: Watch) -> dict[int, str]:
    return dict(watch.registry.sites.select("site", "path").iter_rows())


def _stretches(rows: pl.DataFrame, seconds: int) -> Iterator[pl.DataFrame]:
    """Cut rows, ordered by second, into stretches of so many whole seconds."""
    second = rows["second"].cast(pl.Int64).to_numpy()
    starts = np.flatnonzero(begins(second))
    for begin, end in pairwise(np.append(starts[::seconds], len(second)).tolist()):
        yield rows[begin:end]


def _no_block(members: Members) -> Block:
    nothing = np.zeros((0, len(members.subjects)), dtype=np.int64)
    return Block(np.zeros(0, dtype=np.int64), *[nothing] * 16)
