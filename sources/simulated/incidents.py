"""What goes wrong on purpose, planned before the first second, so that it can be written down as truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.errors import ConfigurationError
from schemas.subject import SubjectKind
from sources.simulated.layout import Layout

RACK_OVER_LIMIT, FEED_OVERLOAD, SILENT_RACK = "rack-over-limit", "feed-overload", "silent-rack"
KINDS = (RACK_OVER_LIMIT, FEED_OVERLOAD, SILENT_RACK)

OVER_LIMIT = 1.06
"""Peak of an overload as a share of the limit."""
RISE_SECONDS, FALL_SECONDS = 6.0, 4.0


@dataclass(frozen=True)
class Incident:
    """Describe one incident: subject, cause, when, and what should be seen.

    Times are whole seconds since the epoch. The cause acts in `[starts, ends)`; an overload rises
    for `RISE_SECONDS` and falls for `FALL_SECONDS` from there on. `index` is the subject's place in
    the layout: a rack's in `racks`, a feed's in `tree`.
    """

    id: str
    kind: str
    subject_kind: SubjectKind
    subject: str
    index: int
    cause_kind: str
    cause: str
    starts: int
    ends: int
    rule: str
    limit_watts: float | None = None
    peak_watts: float | None = None

    def weight(self, second: int) -> float:
        """Return how far the overload has risen in `[second, second + 1 s)`: 0 = not at all, 1 = at its peak."""
        rising = (second - self.starts + 1) / RISE_SECONDS
        falling = 1.0 - (second - self.ends + 1) / FALL_SECONDS
        return float(np.clip(min(rising, falling), 0.0, 1.0))

    def is_silent(self, second: int) -> bool:
        """Tell whether the subject's telemetry is lost in `[second, second + 1 s)`."""
        return self.kind == SILENT_RACK and self.starts <= second < self.ends


def plan(kinds: Sequence[str], layout: Layout, start: int, rng: np.random.Generator) -> list[Incident]:
    """Choose a subject and times for each kind of incident; subjects are never shared.

    Raises ConfigurationError where the facility has nothing that an incident of the kind could strike.
    """
    racks = rng.permutation(np.flatnonzero(layout.racks.gpu_count == layout.racks.gpu_count.max(initial=0)))
    feeds = rng.permutation(
        np.flatnonzero(np.isfinite(layout.tree.limit_watts) & (layout.tree.kind == SubjectKind.FEED))
    )
    planned = []
    for number, kind in enumerate(dict.fromkeys(kinds), start=1):
        pool = feeds if kind == FEED_OVERLOAD else racks
        if number > len(pool):
            raise ConfigurationError(
                f"incident {kind}: the facility has no {_NEEDS[kind]}; leave out --incident {kind}"
            )
        planned.append(_INCIDENTS[kind](f"incident-{number}", int(pool[number - 1]), layout, start))
    return planned


_NEEDS = {
    RACK_OVER_LIMIT: "rack with GPUs left to overload",
    FEED_OVERLOAD: "feed with rated_amps left to overload",
    SILENT_RACK: "rack with GPUs left to silence",
}


def _rack_over_limit(name: str, rack: int, layout: Layout, start: int) -> Incident:
    limit = float(layout.racks.limit_watts[rack])
    return Incident(
        id=name,
        kind=RACK_OVER_LIMIT,
        subject_kind=SubjectKind.RACK,
        subject=layout.racks.path[rack],
        index=rack,
        cause_kind="job",
        cause="a burn-in job ramps up on boards whose power caps a driver restart has put back to their maximum",
        starts=start + 15,
        ends=start + 90,
        rule="rack-over-limit",
        limit_watts=limit,
        peak_watts=OVER_LIMIT * limit,
    )


def _feed_overload(name: str, feed: int, layout: Layout, start: int) -> Incident:
    limit = float(layout.tree.limit_watts[feed])
    return Incident(
        id=name,
        kind=FEED_OVERLOAD,
        subject_kind=SubjectKind.FEED,
        subject=layout.tree.path[feed],
        index=feed,
        cause_kind="fault",
        cause="a load bank was left connected to the feed: its meter shows more than the racks on it",
        starts=start + 25,
        ends=start + 100,
        rule="feed-over-limit",
        limit_watts=limit,
        peak_watts=OVER_LIMIT * limit,
    )


def _silent_rack(name: str, rack: int, layout: Layout, start: int) -> Incident:
    return Incident(
        id=name,
        kind=SILENT_RACK,
        subject_kind=SubjectKind.RACK,
        subject=layout.racks.path[rack],
        index=rack,
        cause_kind="fault",
        cause="the rack's management switch is down: it works on, but nothing of it is heard",
        starts=start + 20,
        ends=start + 140,
        rule="rack-silent",
    )


_INCIDENTS = {RACK_OVER_LIMIT: _rack_over_limit, FEED_OVERLOAD: _feed_overload, SILENT_RACK: _silent_rack}
