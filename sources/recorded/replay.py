"""The replay: readings of all runs in the order of their own time, and each job when it ends.

All of them go out under one key, so in one partition, since runs that overlap in two partitions or under
two keys would look late to each other. Stretches in which nothing was recorded are passed over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

import polars as pl

from schemas.job import Job, Measured
from schemas.meter import METER
from sources.clock import Clock
from sources.publish import Publisher
from sources.recorded.log import extent
from sources.recorded.runs import Run
from sources.recorded.site import PlacedMeter, place, site_of

ROWS_PER_SLICE = 2_000
LONGEST_PAUSE_SECS = 60
"""A longer stretch without readings is passed over at once."""

LONGEST_NAME = 100
LONGEST_STATE = 64
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STATES = {"success": "completed", "aborted": "failed"}
"""MLPerf's words for how a job ended, as ours; others are passed on."""


@dataclass(frozen=True)
class Recording:
    """Hold what is sent: `readings` with the columns of METER by time, meter and phase; `jobs` by their end."""

    readings: pl.DataFrame
    jobs: tuple[Job, ...]

    @property
    def repeated(self) -> int:
        """Return the number of readings that share meter, phase and time with another one."""
        return self.readings.height - self.readings.select(METER.identity).n_unique()


def record(runs: Iterable[Run], ids: Mapping[str, int], site: str | None = None) -> Recording:
    """Put the readings of all runs into one order; `ids` gives the id of each meter's path. Pure.

    `site` is the one site of all runs; without it every run is a site of its own.
    """
    placed = [(meter, place(run, meter, site)) for run in runs for meter in run.meters]
    readings = pl.concat([_frame(meter.log.readings, where, ids[where.path]) for meter, where in placed])
    jobs = [job for run in runs if (job := _job(run, site)) is not None]
    return Recording(
        readings.sort("time", "meter", "phase", maintain_order=True),
        tuple(sorted(jobs, key=lambda job: (job.ended, job.job))),
    )


async def replay(
    recording: Recording, publisher: Publisher, group: str, speed: float | None = None, clock: Clock | None = None
) -> None:
    """Send everything and return when all of it is acknowledged; `speed` None = as fast as Kafka takes it."""
    sent = 0
    async for readings in _paced(recording.readings, speed, clock or Clock.steady()):
        await publisher.power(readings, group)
        until = _moment(_last(readings))
        ended = [job for job in recording.jobs[sent:] if job.ended is None or job.ended <= until]
        sent += await publisher.jobs(ended)
    await publisher.jobs(recording.jobs[sent:])
    await publisher.flush()


async def _paced(readings: pl.DataFrame, speed: float | None, clock: Clock) -> AsyncIterator[pl.DataFrame]:
    """Yield the readings when their time has come: `speed` seconds of theirs pass in one of the clock's."""
    if speed is None:
        for rows in readings.iter_slices(ROWS_PER_SLICE):
            yield rows
        return
    due, previous = clock.now(), None
    for _, rows in readings.group_by(_tick(speed), maintain_order=True):
        last = _last(rows) / 1e6
        due += min(last - (previous or last), LONGEST_PAUSE_SECS) / speed
        previous = last
        await clock.sleep(max(0.0, due - clock.now()))
        yield rows


def _tick(speed: float) -> pl.Expr:
    """Return the number of the tick of a reading: a second, or more where more than ten would pass in one."""
    return pl.col("time").dt.epoch("us") // (max(1, ceil(speed / 10)) * 1_000_000)


def _frame(readings: pl.DataFrame, where: PlacedMeter, meter: int) -> pl.DataFrame:
    values = readings.with_columns(
        meter=pl.lit(meter, pl.Int32),
        level=pl.lit(where.level, pl.Int8),
        energy_joules=pl.lit(None, pl.Float64),
        interval_seconds=pl.lit(where.interval_seconds, pl.Float32),
        averaging=pl.lit(None, pl.Int8),
    )
    return values.select(METER.polars.keys())


def _job(run: Run, site: str | None) -> Job | None:
    """Return the job of a run, None where nothing says when it ran."""
    measured = [
        Measured(place(run, meter, site).path, _moment(span.started), _moment(span.ended))
        for meter in run.meters
        for span in meter.spans
    ]
    if not measured:
        return None
    started = _moment(run.job.started) if run.job.started else min(span.started for span in measured)
    ended = _moment(run.job.ended) if run.job.ended else max(span.ended for span in measured)
    return Job(
        job=f"{run.name[-LONGEST_NAME:]}@{started:%Y-%m-%dT%H:%M:%SZ}",
        site=site or site_of(run),
        workload="training" if run.format == "mllog" else None,
        state=STATES.get(run.job.status or "", (run.job.status or "")[:LONGEST_STATE] or None),
        started=started,
        ended=ended,
        measured=measured,
    )


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def _last(readings: pl.DataFrame) -> int:
    return extent(readings).ended
