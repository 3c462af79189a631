"""The timeline: which registry is in force in which second, of all versions that were published.

A version counts from the whole second `effective_from` on. What is published late counts later, so that
every worker, whenever it looks and however often it is killed, finds the same version in force in the same
second (docs/decisions/0024). Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from schemas.admission import Admitted, Clock, admit
from schemas.column import Record
from schemas.errors import ConfigurationError
from schemas.registry import Registry
from schemas.site_frames import RETIRED, SiteFrames
from schemas.subject import SubjectKind

SECOND = 1_000_000
LEAD_SECS = 8
"""How long after its append a later version counts at the earliest, on the clock `wall`.

More than admission lets a source's clock run ahead (5 s): what is to be counted by a version is appended at
least 3 s after it, and a worker that has asked for versions since then knows all that it needs.
"""

EVER = -(1 << 62)
"""Before every second."""

FOREVER = 1 << 62
"""After every second."""


class Published(NamedTuple):
    """Hold one version of one site as it lies in the log; `appended` is Kafka's time stamp, UTC µs."""

    part: SiteFrames
    appended: int


class Version(NamedTuple):
    """Hold one version of one site and the whole second, UTC µs, from which it counts."""

    part: SiteFrames
    start: int


class Epoch(NamedTuple):
    """Hold the registry in force in the seconds that begin in `[start, end)`, whole seconds, UTC µs."""

    start: int
    end: int
    registry: Registry


@dataclass(frozen=True, eq=False)
class Timeline:
    """Hold the versions of all sites in log order.

    On the clock `wall` a version that was appended less than LEAD_SECS before its `effective_from` counts
    that much after its append. Not so the first of a site, which may say how it has been for long, and none
    on the clock `event`: there versions are published before the readings. Version 1 of a facility counts
    from EVER: nobody knows of another.
    """

    versions: tuple[Version, ...]
    clock: Clock = "wall"
    _known: dict[tuple[int, ...], Registry] = field(default_factory=dict, repr=False)
    """The registries made so far, by their parts: one object for the same parts, however the timeline grows."""

    @classmethod
    def of(cls, published: Iterable[Published], clock: Clock) -> Timeline:
        """Return the timeline of messages in log order, without those that `with_` refuses."""
        timeline = cls((), clock)
        for each in published:
            with suppress(ConfigurationError):
                timeline = timeline.with_(each)
        return timeline

    @classmethod
    def always(cls, registry: Registry) -> Timeline:
        """Return the timeline in which one registry was ever and is for ever in force."""
        known = {tuple(id(part) for part in registry.parts): registry}
        return cls(tuple(Version(part, EVER) for part in registry.parts), "event", known)

    def with_(self, published: Published) -> Timeline:
        """Return the timeline with one more message at the end of the log.

        Raises ConfigurationError where it has ids of another site, or was made beside the newest of its own: it is not
        in force until it is published again.
        """
        part = published.part
        before = next((each for each in self.newest.parts if each.site == part.site), None)
        if before is not None and before.version == part.version and before.is_same_facility(part):
            return self  # sent twice
        if before is not None:
            _refuse_rival(before, part)
        others = [each for each in self.newest.parts if each.site != part.site]
        Registry.of([*others, part])
        start = _start(published, len(others) == len(self.newest.parts), self.clock)
        return Timeline((*self.versions, Version(part, start)), self.clock, self._known)

    @cached_property
    def newest(self) -> Registry:
        """Return the newest version of every site, whether it counts already or not."""
        return self._registry(each.part for each in self.versions)

    @cached_property
    def epochs(self) -> tuple[Epoch, ...]:
        """Return the registries in force, one after the other, from EVER to FOREVER."""
        found: list[Epoch] = []
        for start, end in pairwise([*sorted({EVER, *(each.start for each in self.versions)}), FOREVER]):
            registry = self._registry(each.part for each in self.versions if each.start <= start)
            if found and found[-1].registry is registry:
                found[-1] = found[-1]._replace(end=end)
            else:
                found.append(Epoch(start, end, registry))
        return tuple(found)

    def at(self, second: int) -> Registry:
        """Return the registry in force at a time in UTC µs."""
        return self.between(second, second + 1)[0].registry

    def between(self, first: int, end: int) -> tuple[Epoch, ...]:
        """Return the epochs that hold a time of `[first, end)`, UTC µs; at least that of `first`."""
        starts = self._epoch_starts
        low = bisect_right(starts, first) - 1
        return self.epochs[low : max(low + 1, bisect_left(starts, end))]

    def newest_version(self, site: str) -> Version:
        """Return the newest version of a site and from when it counts; StopIteration where it has none."""
        newest = next(part for part in self.newest.parts if part.site == site)
        return next(each for each in self.versions if each.part is newest)

    @cached_property
    def places(self) -> KnownPlaces:
        """Return the ids of all paths of all versions: an id never changes, so decoding needs no second."""
        newest_first = [epoch.registry for epoch in reversed(self.epochs)]
        return KnownPlaces([self.newest, *(each for each in newest_first if each is not self.newest)])

    @cached_property
    def _epoch_starts(self) -> tuple[int, ...]:
        return tuple(epoch.start for epoch in self.epochs)

    def _registry(self, parts: Iterable[SiteFrames]) -> Registry:
        newest: dict[str, SiteFrames] = {}
        for part in parts:
            if part.site not in newest or part.version >= newest[part.site].version:
                newest[part.site] = part
        chosen = tuple(newest[site] for site in sorted(newest))
        return self._known.setdefault(tuple(map(id, chosen)), Registry(chosen))


class KnownPlaces:
    """Know every path of several versions, the newest first; what decoding asks (schemas.decode.Registry)."""

    def __init__(self, registries: Sequence[Registry]) -> None:
        self._registries = registries

    def id_of(self, kind: SubjectKind, path: str) -> int | None:
        """Return the id of a path in force in any version, or None."""
        return next((found for each in self._registries if (found := each.id_of(kind, path)) is not None), None)

    def path_of(self, kind: SubjectKind, subject: int) -> str | None:
        """Return the path of a subject, or None."""
        return next((found for each in self._registries if (found := each.path_of(kind, subject)) is not None), None)

    @cached_property
    def meters(self) -> pl.DataFrame:
        """Return METERS of all versions, one row a meter, as the newest has it."""
        return pl.concat(each.meters for each in self._registries).unique("meter", keep="first", maintain_order=True)


def admit_in_force(record: Record, frame: pl.DataFrame, timeline: Timeline, *, clock: Clock) -> Admitted:
    """Admit decoded rows (schemas.admission.admit), each by the registry that is in force at its time; pure."""
    time = pl.col("time").to_physical()
    first, last = frame.select(time.min().alias("first"), time.max().alias("last")).row(0)
    if first is None:
        return admit(record, frame, timeline.newest, clock=clock)
    epochs = timeline.between(first, last + 1)
    if len(epochs) == 1:
        return admit(record, frame, epochs[0].registry, clock=clock)
    # A row without a time is refused by any of them.
    numbered = frame.with_row_index("_row_index").with_columns(_time=time.fill_null(first))
    parts = []
    for start, end, registry in epochs:
        theirs = numbered.filter(pl.col("_time").is_between(start, end, closed="left")).drop("_time")
        parts.append(admit(record, theirs, registry, clock=clock))
    rows = pl.concat(part.rows for part in parts).sort("_row_index").drop("_row_index")
    return Admitted(rows, pl.concat(part.refused for part in parts).sort("partition", "offset", "row"))


def _refuse_rival(before: SiteFrames, part: SiteFrames) -> None:
    """Raise ConfigurationError for a version that somebody made who had not heard of the one before it in the log."""
    if part.version == before.version:
        raise ConfigurationError(f"another facility of {part.site} has this version and came before it")
    given = pl.concat([*_given(before), pl.DataFrame(schema=RETIRED)])
    moved = pl.concat(_given(part)).join(given, on=["kind", "id"], suffix="_before")
    moved = moved.filter(pl.col("path") != pl.col("path_before"))
    if len(moved):
        kind, number, path, path_before = moved.row(0)
        raise ConfigurationError(
            f"{path} has the id {number} that {path_before} had before it ({SubjectKind(kind).name.lower()}): "
            f"an id is never given to another place"
        )


def _given(part: SiteFrames) -> list[pl.DataFrame]:
    """Return frames of RETIRED: all ids that a version gives or gave to places and subjects of power."""
    return [part.frames[name].select(*RETIRED) for name in ("structure", "power", "retired")]


def _start(published: Published, is_first: bool, clock: Clock) -> int:
    part, appended = published
    if part.version == 1:
        return EVER
    asked = int(part.effective_from.replace(tzinfo=UTC).timestamp()) * SECOND
    if is_first or clock == "event":
        return asked
    return max(asked, (-(-appended // SECOND) + LEAD_SECS) * SECOND)
