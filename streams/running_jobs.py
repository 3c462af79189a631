"""Which jobs run where, as last heard on `telemetry.jobs.v1`; it only names causes and never decides an alert."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from schemas.alert import Cause, moment
from schemas.job import Job
from schemas.subject import SubjectKind

if TYPE_CHECKING:
    from schemas.registry import Registry

Causes = Callable[[int, int, str, int], tuple[Cause, ...]]
"""Given a subject's kind, id and path and a time in UTC µs, return the jobs on it."""

MOST_CAUSES = 20
MOST_ENDED = 20_000
"""Ended jobs kept at most, the newest: an alert of recorded data may look back at them."""

_PLACES = (SubjectKind.SITE, SubjectKind.HALL, SubjectKind.ROW, SubjectKind.RACK, SubjectKind.NODE)


class RunningJobs:
    """Keep the last record of each job that has started, by the paths of its nodes."""

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[Job, tuple[str, ...]]] = {}
        self._places: tuple[Registry | None, dict[tuple[int, int], tuple[str, ...]]] = None, {}

    def hear(self, jobs: Iterable[Job]) -> None:
        """Take records in log order; a later one of the same job stands for it."""
        for job in jobs:
            self._jobs.pop(job.job, None)
            if job.started is not None:
                paths = tuple(f"{part.path}/" for part in job.allocations if part.path)
                self._jobs[job.job] = job, paths
        self._forget()

    def on(self, places: tuple[str, ...], at: datetime) -> tuple[Cause, ...]:
        """Return the jobs allocated at `at` to nodes at or below any of the paths, by name, MOST_CAUSES at most."""
        below = tuple(f"{place}/" for place in places)
        names = sorted(
            name
            for name, (job, paths) in self._jobs.items()
            if _is_running(job, at) and any(path.startswith(below) for path in paths)
        )
        return tuple(Cause(name) for name in names[:MOST_CAUSES])

    def causes_in(self, registry: Registry) -> Causes:
        """Return the function that names the jobs on a subject of `registry` at a time in UTC µs."""
        if not self._jobs:
            return lambda *_: ()
        return lambda kind, subject, path, at: self.on(self._places_of(registry, kind, subject, path), moment(at))

    def _places_of(self, registry: Registry, kind: int, subject: int, path: str) -> tuple[str, ...]:
        """Return the places of a subject, looked up once in each registry."""
        if self._places[0] is not registry:
            self._places = registry, {}
        known = self._places[1]
        if (kind, subject) not in known:
            known[kind, subject] = places_of(registry, kind, subject, path)
        return known[kind, subject]

    def _forget(self) -> None:
        ended = [name for name, (job, _) in self._jobs.items() if job.ended is not None]
        for name in ended[: max(0, len(ended) - MOST_ENDED)]:
            del self._jobs[name]


def places_of(registry: Registry, kind: int, subject: int, path: str) -> tuple[str, ...]:
    """Return the paths of the places that a subject feeds or is: itself, or the racks on its feeds."""
    if kind in _PLACES:
        return (path,)
    racks = registry.feed_racks.filter(pl.col("feed").is_in(_feeds_below(registry, kind, subject)))
    return tuple(
        name for rack in racks["rack"].unique().sort() if (name := registry.path_of(SubjectKind.RACK, rack)) is not None
    )


def _feeds_below(registry: Registry, kind: int, subject: int) -> list[int]:
    """Return the feeds at or below a device of the power tree."""
    level, feeds = [(kind, subject)], []
    while level:
        feeds += [device for its_kind, device in level if its_kind == SubjectKind.FEED]
        parents = pl.DataFrame(level, schema={"parent_kind": pl.Int8, "parent": pl.Int32}, orient="row")
        level = registry.power.join(parents, on=["parent_kind", "parent"]).select("kind", "id").rows()
    return feeds


def _is_running(job: Job, at: datetime) -> bool:
    return job.started is not None and job.started <= at and (job.ended is None or at < job.ended)
