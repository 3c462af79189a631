"""Recompute windows from raw rows: the same pure stages as live, over rows in the order of event time. Pure.

So nothing is late, a source in two partitions is heard whole, and where nothing was late live the windows
are those that were told live, bit for bit. They win by their generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import polars as pl

from schemas import canary
from schemas.job import Job, Placed
from schemas.partial import Partial
from schemas.subject import SubjectKind
from schemas.timeline import Timeline
from schemas.window import WINDOW
from streams.devices import SiteMinute
from streams.in_force import InForce
from streams.job_book import JobBook
from streams.job_sums import told as windows_by_site
from streams.job_windows import withdrawn
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.site_windows import SiteWindows
from streams.sum_rules import Output, SumRules
from streams.watches import Watches

SECOND = 1_000_000
MINUTE = 60 * SECOND
STREAMS = [(GPU_TOPIC, 0), (METER_TOPIC, 0)]


class Span(NamedTuple):
    """Hold a stretch of whole seconds `[first, end)`, UTC µs."""

    first: int
    end: int

    @property
    def minutes(self) -> Span:
        """Return the whole minutes that hold it."""
        return Span(self.first // MINUTE * MINUTE, -(-self.end // MINUTE) * MINUTE)

    def by_minute(self) -> Iterator[Span]:
        """Yield what of each whole minute lies in it."""
        first, end = self.minutes
        for minute in range(first, end, MINUTE):
            yield Span(max(minute, self.first), min(minute + MINUTE, self.end))


class Raw(NamedTuple):
    """Hold the admitted rows (schemas.admission) of a stretch, and of meters those of the hold before it."""

    gpu: pl.DataFrame
    power: pl.DataFrame


class Jobs(NamedTuple):
    """Hold the newest records of jobs, and the windows of jobs that were told of the stretch (history.jobs.TOLD)."""

    records: Sequence[Placed[Job]] = ()
    told: pl.DataFrame | None = None


NO_JOBS = Jobs()


class Recomputed(NamedTuple):
    """Hold windows of subjects, and of GPUs and nodes with all histograms, as live makes them."""

    windows: list[SiteWindows]
    minutes: list[SiteMinute]

    def of(self, site: str | None) -> Recomputed:
        """Return those of one site, or all."""
        return self if site is None else Recomputed(*([each for each in part if each.site == site] for part in self))


def needed(span: Span) -> Span:
    """Return the stretch whose rows `recompute` takes: its minutes and the one before, for counters."""
    first, end = span.minutes
    return Span(first - MINUTE, end)


def recompute(  # noqa: PLR0917
    raw: Raw, span: Span, timeline: Timeline, watches: Watches, generation: int, jobs: Jobs = NO_JOBS
) -> Recomputed:
    """Return the windows of the seconds of `span` and of the minutes that hold them, with a generation.

    **Frames in** as Raw says, of `needed(span)`, in any order, duplicates allowed. **Out** WINDOW rows by site
    of every second in which any source spoke; `watches` are those of no rules on `timeline`.
    """
    windows: list[SiteWindows] = []
    minutes: list[SiteMinute] = []
    book = JobBook()
    book.hear(jobs.records)
    book.follow(timeline.places)
    for output in _told(_partials(raw, needed(span), timeline, book), needed(span), watches, book):
        for each in output.windows:
            rows = each.rows.filter(_starts_in(span if each.every_seconds == 1 else span.minutes))
            windows += [_revised(each, rows, generation)] if len(rows) else []
        of_span = (each for each in output.minutes if each.minute >= span.minutes.first)
        minutes += [each._replace(kind="revision", rows=_numbered(each.rows, generation)) for each in of_span]
    if jobs.told is not None:
        gone = withdrawals([each.rows for each in windows], jobs.told, book, span)
        windows += [_revised(each, each.rows, generation) for each in gone]
    return Recomputed(windows, minutes)


def _partials(raw: Raw, minutes: Span, timeline: Timeline, book: JobBook) -> Iterator[Partial | pl.DataFrame]:
    """Roll up the rows, each second of them as one message, and close all of it; seconds of jobs are frames.

    And one more second, which nobody asked for: before it closes the last pieces of the minutes are told.
    """
    roll_up = RollUp(InForce.of(timeline), jobs=book)
    for topic, rows in ((GPU_TOPIC, raw.gpu), (METER_TOPIC, canary.outside(raw.power))):
        roll_up.assign((topic, 0), str(minutes.first // SECOND), 0)
        second = pl.col("time").to_physical() // SECOND
        placed = rows.sort("time").with_columns(_partition=pl.lit(0, pl.Int32), _offset=second.cast(pl.Int64))
        if len(placed):
            yield from _with_jobs(roll_up, roll_up.feed(topic, placed, {0: minutes.end // SECOND}, 0))
    yield from _with_jobs(roll_up, roll_up.idle(STREAMS, minutes.end + SECOND))


def _with_jobs(roll_up: RollUp, partials: list[Partial]) -> Iterator[Partial | pl.DataFrame]:
    if (jobs := roll_up.job_rows()) is not None:
        yield jobs
    yield from partials


def _told(
    partials: Iterator[Partial | pl.DataFrame], minutes: Span, watches: Watches, book: JobBook
) -> Iterator[Output]:
    sums = SumRules(watches, STREAMS, book, minutes.first, heard=book.heard)
    for offset, said in enumerate(partials):
        if isinstance(said, pl.DataFrame):
            sums.take_jobs(offset, said)
            continue
        sums.take(offset, said.envelope, said.rows)
        yield sums.close()
    while sums.is_behind:
        yield sums.close()


def withdrawals(made: Sequence[pl.DataFrame], told: pl.DataFrame, book: JobBook, span: Span) -> list[SiteWindows]:
    """Return a withdrawn window for each that was told of a job of which by its newest record there is none."""
    key = ["every_seconds", "window_start", "subject"]
    jobs = [rows.filter(pl.col("subject_kind") == SubjectKind.JOB).select(key) for rows in made]
    standing = told.sort("version_facility").unique(key, keep="last", maintain_order=True)
    in_span = pl.when(pl.col("every_seconds") == 1).then(_starts_in(span)).otherwise(_starts_in(span.minutes))
    alone = standing.filter(in_span & (pl.col("expected") > 0))
    lost = alone.join(pl.concat([alone.select(key).clear(), *jobs]), on=key, how="anti") if len(alone) else alone
    windows: list[SiteWindows] = []
    for (every, subject), rows in lost.group_by("every_seconds", "subject", maintain_order=True):
        tenure = book.newest(int(subject))  # type: ignore[call-overload]
        # What was told by a later record than the lake has is not this lake's to withdraw.
        if tenure is not None and tenure.record >= (rows["version_facility"].max() or 0):  # type: ignore[operator]
            starts = rows["window_start"].to_physical().sort().to_list()
            empty = withdrawn(tenure.name[0], tenure.subject, tenure.record, starts)
            windows += windows_by_site(empty, "revision", int(every), ())  # type: ignore[call-overload]
    return windows


def _starts_in(span: Span) -> pl.Expr:
    return pl.col("window_start").to_physical().is_between(span.first, span.end, closed="left")


def _revised(windows: SiteWindows, rows: pl.DataFrame, generation: int) -> SiteWindows:
    starts = rows["window_start"].to_physical()
    end = int(starts.max()) + windows.every_seconds * SECOND  # type: ignore[arg-type]
    return windows._replace(
        kind="revision",
        first_second=int(starts.min()),  # type: ignore[arg-type]
        end_second=end,
        missing=(),
        rows=_numbered(rows, generation),
    )


def _numbered(rows: pl.DataFrame, generation: int) -> pl.DataFrame:
    return rows.with_columns(version_generation=pl.lit(generation, WINDOW.polars["version_generation"]))
