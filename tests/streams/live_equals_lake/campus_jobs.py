"""The jobs of the small campus: over partitions, on parts of nodes, two on one GPU, corrected, and none at all."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from msgspec import structs

from schemas.job import Allocation, Job, Placed, encode, job_subject
from schemas.message import Message
from schemas.registry import Registry
from schemas.time import moment
from streams.job_book import JobBook
from streams.roll_up import JOBS_TOPIC
from tests.streams.live_equals_lake.campus_log import SECOND, START

SITE = "tst"
SAID = {"subject": pl.Int64, "record": pl.Int64, "node": pl.Int32, "gpu_first": pl.Int32, "gpu_last": pl.Int32,
        "started": pl.Int64, "ended": pl.Int64}  # fmt: skip
"""A row an allocation of a record: times in UTC µs, `ended` null = it goes on; both ends of the GPUs are its own."""


def campus_jobs(registry: Registry) -> list[Job]:
    """Return the records of jobs in log order; a job's later record amends it."""
    a, b, c, d = (f"{SITE}/h1/r01/k01", f"{SITE}/h1/r02/k02", f"{SITE}/h1/r03/k02", f"{SITE}/h2/r01/k02")
    nodes = registry.nodes.select("path", "node").rows()
    return [
        _job("image", [n for n in nodes if n[0].startswith(c)], (0, 1), 3.0, None),
        _job("train", [n for n in nodes if n[0].startswith((a, b, d))], (0, 3), -100.0, None),
        _job("image", [n for n in nodes if n[0].startswith((b, c))], (1, 1), 20.4, 41.5),
        _job("short", [n for n in nodes if n[0].startswith(a)], (2, 2), 15.0, 17.0),
        _job("none", [n for n in nodes if n[0].startswith(a)], (0, 3), 30.0, 12.0),
    ]


Nodes = Sequence[tuple[str, int]]
"""Path and id of each."""


def _job(name: str, nodes: Nodes, gpus: tuple[int, int], started: float, ended: float | None) -> Job:
    at = [None if each is None else moment(START * SECOND + round(each * SECOND)) for each in (started, ended)]
    parts = [Allocation(node, *gpus, path=path) for path, node in nodes]
    return Job(job=name, site=SITE, started=at[0], ended=at[1], allocations=parts)


def placed(jobs: Sequence[Job]) -> list[Placed[Job]]:
    """Return records as they come from the log."""
    return [
        Placed(Message(JOBS_TOPIC, 0, nth, 0, job.job.encode(), encode(job), ()), 0, job)
        for nth, job in enumerate(jobs)
    ]


def book_of(registry: Registry) -> JobBook:
    """Return a book in which all records are."""
    book = JobBook()
    book.hear(records := placed(campus_jobs(registry)), len(records))
    return book


def as_sent(job: Job) -> bytes:
    """Return a record as a scheduler sends it: nodes by their paths."""
    parts = [Allocation(part.path or "", part.gpu_first, part.gpu_last) for part in job.allocations]
    return encode(structs.replace(job, allocations=parts))


def said_of_jobs(jobs: Sequence[Job]) -> pl.DataFrame:
    """Return what records say, as SAID."""
    rows = [
        (job_subject(job.site, job.job), nth, part.node, part.gpu_first, part.gpu_last, _micros(job.started),
         _micros(job.ended))
        for nth, job in enumerate(jobs, 1) for part in job.allocations
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SAID, orient="row")


def _micros(at: object) -> int | None:
    return None if at is None else pl.Series([at]).dt.epoch("us").item()
