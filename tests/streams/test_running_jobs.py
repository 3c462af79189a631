"""Whom an alert names as its cause: the jobs of the book that have nodes at or below its subject."""

from __future__ import annotations

from datetime import timedelta

from schemas.alert import Cause
from schemas.job import Allocation, Job, Placed
from schemas.message import Message
from schemas.time import moment
from streams.job_book import JobBook
from streams.running_jobs import MOST_CAUSES, RunningJobs

START = 1_721_116_800_000_000


def at(seconds: float) -> int:
    return START + round(seconds * 1_000_000)


def said(offset: int, job: str, *nodes: str, started: float | None, ended: float | None = None, site: str = "ruh"):
    times = [None if each is None else moment(START) + timedelta(seconds=each) for each in (started, ended)]
    parts = [Allocation(-1, path=node) for node in nodes]
    record = Job(job=job, site=site, started=times[0], ended=times[1], allocations=parts)
    return Placed(Message("telemetry.jobs.v1", 0, offset, 0, job.encode(), b"", ()), 0, record)


def running(*records: Placed[Job]) -> RunningJobs:
    book = JobBook()
    book.hear(records)
    return RunningJobs(book)


def names(jobs: RunningJobs, place: str, seconds: float) -> list[str]:
    return [cause.job for cause in jobs.on((place,), at(seconds))]


def test_a_job_is_named_on_every_place_above_its_nodes_and_on_no_neighbour() -> None:
    jobs = running(said(0, "train", "ruh/h1/r1/n01", started=0), said(1, "serve", "ruh/h1/r10/n01", started=0))
    assert names(jobs, "ruh/h1", 5) == ["serve", "train"]
    assert names(jobs, "ruh/h1/r1", 5) == ["train"]
    assert names(jobs, "ruh/h1/r1/n01", 5) == ["train"]
    assert names(jobs, "ruh/h1/r1/n0", 5) == []


def test_an_alert_in_the_second_in_which_a_job_begins_or_ends_names_it() -> None:
    """Fails where only whole seconds of a job count: it begins at 10.5, and its breach 0.3 s later has no cause."""
    jobs = running(said(0, "before", "ruh/n1", started=0, ended=10.5), said(1, "after", "ruh/n1", started=10.5))
    assert names(jobs, "ruh", 9.9) == ["before"]
    assert names(jobs, "ruh", 10.8) == ["after", "before"]
    assert names(jobs, "ruh", 11.0) == ["after"]


def test_the_newest_record_of_a_job_counts_and_a_job_of_another_site_is_another() -> None:
    jobs = running(
        said(0, "train", "ruh/n1", started=0),
        said(1, "train", "jed/n1", started=0, site="jed"),
        said(2, "train", "ruh/n2", started=0),
        said(3, "queued", "ruh/n1", started=None),
    )
    assert names(jobs, "ruh/n1", 5) == []
    assert names(jobs, "ruh/n2", 5) == names(jobs, "jed/n1", 5) == ["train"]


def test_no_more_than_so_many_are_named() -> None:
    jobs = running(*(said(nth, f"job-{nth:03}", "ruh/n1", started=0) for nth in range(MOST_CAUSES + 5)))
    assert jobs.on(("ruh",), at(1)) == tuple(Cause(f"job-{nth:03}") for nth in range(MOST_CAUSES))
