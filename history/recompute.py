"""Recompute windows from raw rows: the same pure stages as live, over rows in the order of event time. Pure.

So nothing is late, a source in two partitions is heard whole, and where nothing was late live the windows
are those that were told live, bit for bit. They win by their generation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from schemas import canary
from schemas.partial import Partial
from schemas.timeline import Timeline
from schemas.window import WINDOW
from streams.devices import SiteMinute
from streams.in_force import InForce
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.running_jobs import RunningJobs
from streams.sum_rules import Output, SiteWindows, SumRules
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


def recompute(raw: Raw, span: Span, timeline: Timeline, watches: Watches, generation: int) -> Recomputed:
    """Return the windows of the seconds of `span` and of the minutes that hold them, with a generation.

    **Frames in** as Raw says, of `needed(span)`, in any order, duplicates allowed. **Out** WINDOW rows by site
    of every second in which any source spoke; `watches` are those of no rules on `timeline`.
    """
    windows: list[SiteWindows] = []
    minutes: list[SiteMinute] = []
    for output in _told(_partials(raw, needed(span), timeline), needed(span), watches):
        for each in output.windows:
            rows = each.rows.filter(_starts_in(span if each.every_seconds == 1 else span.minutes))
            windows += [_revised(each, rows, generation)] if len(rows) else []
        of_span = (each for each in output.minutes if each.minute >= span.minutes.first)
        minutes += [each._replace(kind="revision", rows=_numbered(each.rows, generation)) for each in of_span]
    return Recomputed(windows, minutes)


def _partials(raw: Raw, minutes: Span, timeline: Timeline) -> Iterator[Partial]:
    """Roll up the rows, each second of them as one message, and close all of it."""
    roll_up = RollUp(InForce.of(timeline))
    for topic, rows in ((GPU_TOPIC, raw.gpu), (METER_TOPIC, canary.outside(raw.power))):
        roll_up.assign((topic, 0), str(minutes.first // SECOND), 0)
        second = pl.col("time").to_physical() // SECOND
        placed = rows.sort("time").with_columns(_partition=pl.lit(0, pl.Int32), _offset=second.cast(pl.Int64))
        if len(placed):
            yield from roll_up.feed(topic, placed, {0: minutes.end // SECOND}, 0)
    yield from roll_up.idle(STREAMS, minutes.end)


def _told(partials: Iterator[Partial], minutes: Span, watches: Watches) -> Iterator[Output]:
    sums = SumRules(watches, STREAMS, RunningJobs(), told_through=minutes.first)
    for offset, (envelope, rows) in enumerate(partials):
        sums.take(offset, envelope, rows)
        yield sums.close()
    while sums.is_behind:
        yield sums.close()


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
