"""Jobs out of the lake: recomputed as they were told live, withdrawn where a record says so, and named in SQL."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from history.from_lake import recomputed
from history.recompute import Span
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.job import Allocation, Job, decode_jobs, encode, job_subject
from schemas.message import Message
from schemas.meter import METER
from schemas.registry import Registry
from schemas.subject import SubjectKind
from schemas.time import moment
from schemas.timeline import Timeline, admit_in_force
from sinks.lake.flush import Tables
from sinks.lake.positions import Source
from sinks.sql.connection import connect
from streams.evaluate import Evaluator
from streams.in_force import InForce
from streams.job_book import JobBook
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.site_windows import SiteWindows
from streams.watches import Watches
from streams.windows_message import message_of
from tests.history.small_lake import ALL, SECOND, START, Log, seconds_of_load, standing, two_racks, written

JOBS = Source("telemetry.jobs.v1", 0)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return two_racks()


def record(offset: int, started: float, ended: float | None = None) -> Message:
    at = [None if each is None else moment(START) + timedelta(seconds=each) for each in (started, ended)]
    parts = [Allocation("ruh/h1/r01/k01/n01"), Allocation("ruh/h1/r01/k02/n01", 0, 3)]
    said = Job(job="train", site="ruh", started=at[0], ended=at[1], allocations=parts)
    return Message("telemetry.jobs.v1", 0, offset, START, b"train", encode(said), ())


def jobs_of(windows: list[SiteWindows]) -> pl.DataFrame:
    return standing(windows).filter(subject_kind=int(SubjectKind.JOB), every_seconds=1)


def again(lake: Path) -> list[SiteWindows]:
    return [each for made in recomputed(lake, Span(START, START + 60 * SECOND), "wall") for each in made.windows]


def test_a_jobs_windows_are_made_of_the_lakes_rows_and_named_in_sql(registry: Registry, tmp_path: Path) -> None:
    log = Log(registry)
    seconds_of_load(log, 0, 61)
    lake = written(tmp_path, registry, [*log.messages, record(0, 10.0), record(1, 10.0, 40.0)])
    jobs = jobs_of(again(lake))
    at = ((jobs["window_start"].to_physical() - START) // SECOND).to_list()
    assert at == list(range(10, 40))
    assert jobs.select(
        "subject", "expected", "reporting", "version_facility", "version_generation"
    ).unique().rows() == [(job_subject("ruh", "train"), 12, 12, 2, 1)]
    # Σ of eight GPUs of one rack and four of the other, as SQL has the raw rows.
    with connect(lake) as connection:
        raw = connection.execute(
            "SELECT date_trunc('second', time) AS at, sum(round(power_watts * 10)::BIGINT) / 10.0 AS watts FROM gpu "
            "WHERE node IN ('ruh/h1/r01/k01/n01') OR (node = 'ruh/h1/r01/k02/n01' AND gpu < 4) GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert [round(watts, 1) for watts in jobs["power_watts"]] == [round(watts, 1) for _, watts in raw[10:40]]


def test_what_was_told_of_a_job_that_had_ended_is_withdrawn(registry: Registry, tmp_path: Path) -> None:
    log = Log(registry)
    seconds_of_load(log, 0, 61)
    lake = written(tmp_path, registry, [*log.messages, record(0, 10.0)])
    first = again(lake)
    tell(lake, registry, first, 0)
    before = counted(lake)
    Tables(lake).flush({JOBS: [record(1, 10.0, 40.0)]}, registry)
    later = again(lake)
    gone = jobs_of(later).filter(expected=0)
    assert set(((gone["window_start"].to_physical() - START) // SECOND).to_list()) == set(range(40, 60))
    tell(lake, registry, later, len(first))
    assert (before, counted(lake)) == ([("ruh/train", "ruh", 50)], [("ruh/train", "ruh", 30)])


def tell(lake: Path, registry: Registry, windows: list[SiteWindows], first: int) -> None:
    """Write windows into a lake, as its writer does what it reads from Kafka."""
    messages = []
    for offset, each in enumerate(windows, first):
        value, key, headers = message_of(each)
        messages.append(Message("windows.site.v1", 0, offset, START, key, value, tuple(headers)))
    Tables(lake).flush({Source("windows.site.v1", 0): messages}, registry)


def counted(lake: Path) -> list[tuple[str, str, int]]:
    """Return of each job its path, site and number of seconds in SQL."""
    with connect(lake) as connection:
        asked = (
            "SELECT subject, site, count(*) FROM windows WHERE subject_kind = 'job' AND every_seconds = 1 GROUP BY ALL"
        )
        return connection.execute(asked).fetchall()


def told_live(registry: Registry, log: Log, record_of_job: Message) -> list[SiteWindows]:
    """Return what the live stages tell of a log, drained second by second, and of a job."""
    timeline = Timeline.always(registry)
    records = decode_jobs([record_of_job], registry).records
    books = JobBook(), JobBook()
    for book in books:
        book.hear(records)
    roll_up = RollUp(InForce.of(timeline), jobs=books[0])
    evaluator = Evaluator(Watches((), timeline), ALL, book=books[1])
    windows, offset = [], 0
    for partition in ALL:
        roll_up.assign(partition, "", 0)
    for begin in [*range(0, len(log.messages), 40), None]:
        partials = [] if begin is not None else roll_up.idle(ALL, START + 3_600 * SECOND)
        for topic, kind in ((GPU_TOPIC, GPU), (METER_TOPIC, METER)) if begin is not None else ():
            some = [each for each in log.messages[begin : begin + 40] if each.topic == topic]
            rows = admit_in_force(kind, decode(topic, some, registry).frame, timeline, clock="wall").rows
            partials += roll_up.feed(topic, rows, {each.partition: each.offset + 1 for each in some}, 0)
        if (jobs := roll_up.job_rows()) is not None:
            evaluator.take_jobs(offset, jobs)
        for envelope, rows in partials:
            evaluator.take(offset := offset + 1, envelope, rows)
        windows += evaluator.close().windows
    while evaluator.is_behind:
        windows += evaluator.close().windows
    return windows


def test_where_nothing_was_late_live_and_lake_say_the_same_of_jobs(registry: Registry, tmp_path: Path) -> None:
    log, said = Log(registry), record(0, 10.0, 55.0)
    seconds_of_load(log, 0, 75)
    lake = written(tmp_path, registry, [*log.messages, said])
    both = [told_live(registry, log, said), again(lake)]
    live, lake_says = (
        standing(windows).filter(subject_kind=int(SubjectKind.JOB)).drop("version_generation") for windows in both
    )
    assert len(live) == 45 + 1
    assert_frame_equal(live, lake_says)
