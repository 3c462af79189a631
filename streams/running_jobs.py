"""Which jobs run on a subject, by the book of jobs; it only names causes and never decides an alert."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from schemas.alert import Cause
from schemas.subject import SubjectKind
from schemas.timeline import SECOND
from streams.job_book import JobBook

if TYPE_CHECKING:
    from schemas.registry import Registry

Causes = Callable[[int, int, str, int], tuple[Cause, ...]]
"""Given a subject's kind, id and path and a time in UTC µs, return the jobs on it."""

MOST_CAUSES = 20

_PLACES = (SubjectKind.SITE, SubjectKind.HALL, SubjectKind.ROW, SubjectKind.RACK, SubjectKind.NODE)


class RunningJobs:
    """Name the jobs of a book by the paths of their nodes."""

    def __init__(self, book: JobBook) -> None:
        self._book = book
        self._places: tuple[Registry | None, dict[tuple[int, int], tuple[str, ...]]] = None, {}

    def on(self, places: tuple[str, ...], at: int) -> tuple[Cause, ...]:
        """Return the jobs with nodes at or below any of the paths, by name, MOST_CAUSES at most.

        Of those that begin or end in the second of `at`, UTC µs, both are named: either may be the cause.
        """
        below = tuple(f"{place}/" for place in places)
        seconds = {at // SECOND, -(-at // SECOND)}
        names = {job for second in seconds for _, job in self._book.below(below, second)}
        return tuple(Cause(name) for name in sorted(names)[:MOST_CAUSES])

    def causes_in(self, registry: Registry) -> Causes:
        """Return the function that names the jobs on a subject of `registry` at a time in UTC µs."""
        if not self._book:
            return lambda *_: ()
        return lambda kind, subject, path, at: self.on(self._places_of(registry, kind, subject, path), at)

    def _places_of(self, registry: Registry, kind: int, subject: int, path: str) -> tuple[str, ...]:
        """Return the places of a subject, looked up once in each registry."""
        if self._places[0] is not registry:
            self._places = registry, {}
        known = self._places[1]
        if (kind, subject) not in known:
            known[kind, subject] = places_of(registry, kind, subject, path)
        return known[kind, subject]


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
