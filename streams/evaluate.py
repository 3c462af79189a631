"""Evaluate: readings and partials in, alerts and windows out. Pure: no Kafka, no clock.

A rule reads exactly one of the two inputs, so the order between their topics never matters: rules on one
rack or feed that is metered are ReadingRules, all others SumRules. What is told is a function of the two
logs alone: cut into any drains, read again from a snapshot after a kill, it is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from schemas.alert import Alert
from schemas.partial import OPEN_END, Envelope
from schemas.timeline import EVER
from streams.closings import NOTHING, Stream
from streams.job_book import JobBook
from streams.meter_rows import MeterRows
from streams.ramps import Ramp
from streams.reading_rules import IdleNote, ReadingRules
from streams.site_windows import SiteWindows
from streams.sum_rules import Output, SumRules
from streams.watch import Watch
from streams.watches import Watches

__all__ = ["PARTIALS_TOPIC", "POWER_TOPIC", "Evaluator", "IdleNote", "Output", "SiteWindows"]

POWER_TOPIC = "telemetry.power.v1"
PARTIALS_TOPIC = "windows.rack.v1"


class Evaluator:
    """Evaluate the rules of a watch, or of what is watched in each second (streams.watches).

    `streams` are the partitions of all telemetry topics. An evaluator that goes on (streams.snapshot) has judged
    readings by the watch of the second `since` on, and all seconds of sums before `told_through`. `book` are the jobs
    that have windows and are named as causes, `heard` up to which of their records these were told.
    """

    def __init__(
        self,
        watch: Watch | Watches,
        streams: Iterable[Stream],
        *,
        since: int = EVER,
        told_through: int = NOTHING,
        book: JobBook | None = None,
        heard: int = 0,
    ) -> None:
        streams = sorted(streams)
        watches = Watches.always(watch) if isinstance(watch, Watch) else watch
        partitions = 1 + max((number for topic, number in streams if topic == POWER_TOPIC), default=0)
        jobs = JobBook() if book is None else book
        self.readings = ReadingRules(watches, partitions, jobs, since)
        self.sums = SumRules(watches, streams, jobs, told_through, heard=heard)

    def follow(self, watches: Watches) -> list[Alert]:
        """Know a longer timeline of the same rules: each second is judged by the facility in force in it.

        Returns what is told at once, where seconds that are judged already would have been others'.
        """
        self.sums.follow(watches)
        return self.readings.follow(watches)

    def read(self, readings: pl.DataFrame | MeterRows, next_offsets: Mapping[int, int]) -> list[Alert]:
        """Take admitted rows of `telemetry.power.v1` in log order by partition; return what reading rules tell.

        `next_offsets` is, by partition, the offset after the last message that came. A frame has METER's columns,
        `_partition` and `_offset`.
        """
        rows = readings if isinstance(readings, MeterRows) else MeterRows.of(readings)
        return self.readings.read(rows, next_offsets)

    def take(self, offset: int, envelope: Envelope, rows: pl.DataFrame) -> None:
        """Take one message of `windows.rack.v1` in log order."""
        self.sums.take(offset, envelope, rows)
        if envelope.kind == "idle" and envelope.topic == POWER_TOPIC:
            reached = None if envelope.end_second >= OPEN_END else envelope.end_second
            self.readings.note(envelope.partition, IdleNote(envelope.to_offset, reached))

    def take_jobs(self, offset: int, rows: pl.DataFrame) -> None:
        """Take one message of `windows.rack.v1` that carries seconds of jobs (JOB_PARTIAL), in log order."""
        self.sums.take_jobs(offset, rows)

    @property
    def is_behind(self) -> bool:
        """Tell whether `close` has more to close."""
        return self.sums.is_behind

    @property
    def is_full(self) -> bool:
        """Tell whether to call `close` before more is taken: after an outage a drain brings hours."""
        return self.sums.is_full

    @property
    def is_settled(self) -> bool:
        """Tell whether all is told of what is closed, so that a snapshot lacks nothing."""
        return self.sums.is_settled

    def close(self) -> Output:
        """Close what can be closed; return what both kinds of rules tell, and windows (streams.sum_rules)."""
        told = self.readings.pass_idle()
        closed = self.sums.close()
        return closed._replace(alerts=told + closed.alerts)

    def ramps(self, second: int) -> dict[int, Ramp]:
        """Return, by 1, 5 and 30 s, how the power of each subject changed up to a closed second (streams.ramps)."""
        return self.sums.ramps(second)

    def lose(self, topic: str, partition: int, offset: int) -> None:
        """Go on at `offset` of a log that no longer holds what was to be read next; what it said is lost."""
        if topic == POWER_TOPIC:
            self.readings.go_on_at({partition: offset})
            self.readings.notes.pop(partition, None)
        elif topic == PARTIALS_TOPIC:
            self.sums.lose(offset)
