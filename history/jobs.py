"""Jobs out of a lake: the newest record of each, and the windows of jobs that were told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from history.raw_rows import read_rows, read_span
from history.recompute import Span
from schemas.job import Allocation, Job, Placed
from schemas.message import Message
from schemas.subject import SubjectKind
from sinks.lake.tables import BY_NAME

TOPIC = "telemetry.jobs.v1"
TOLD = ("window_start", "every_seconds", "subject_kind", "subject", "expected", "version_facility")


def read_jobs(lake: Path) -> list[Placed[Job]]:
    """Return the newest record of each job, in log order, as far as it says who has which GPUs when."""
    columns = ["site", "job", "started", "ended", "allocations", "_appended", "_offset", "_row"]
    # A topic that was made anew begins at offset 0 again: the newest is what was appended last.
    placed = read_rows(lake, BY_NAME["jobs"], columns).sort("_appended", "_offset", "_row")
    newest = placed.unique(["site", "job"], keep="last")
    return [_placed(row) for row in newest.sort("_offset").iter_rows(named=True)]


def read_told(lake: Path, span: Span) -> pl.DataFrame:
    """Return the windows of jobs of the minutes of `span` that the lake has, columns TOLD, every version."""
    first, end = span.minutes
    parts = [read_span(lake, BY_NAME[name], first, end, TOLD) for name in ("windows_1s", "windows_1m")]
    return pl.concat(parts).filter(pl.col("subject_kind") == SubjectKind.JOB)


def _placed(row: Mapping[str, Any]) -> Placed[Job]:
    started, ended = _utc(row["started"]), _utc(row["ended"])
    said = Job(job=row["job"], site=row["site"], started=started, ended=ended, allocations=_parts(row["allocations"]))
    return Placed(Message(TOPIC, 0, row["_offset"], 0, row["job"].encode(), None, ()), row["_row"], said)


def _parts(listed: Iterable[Mapping[str, Any]] | None) -> list[Allocation]:
    times = ({name: _utc(each[name]) for name in ("started", "ended")} for each in listed or ())
    return [Allocation(**{**each, **when}) for each, when in zip(listed or (), times, strict=True)]


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC)
