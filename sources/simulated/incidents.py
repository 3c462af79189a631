"""What goes wrong on purpose, planned before the first second, so that it can be written down as truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigurationError
from schemas.subject import SubjectKind
from sources.simulated.layout import Layout

RACK_OVER_LIMIT, FEED_OVERLOAD, SILENT_RACK = "rack-over-limit", "feed-overload", "silent-rack"
KINDS = (RACK_OVER_LIMIT, FEED_OVERLOAD, SILENT_RACK)

OVER_LIMIT = 1.06
"""Peak of an overload as a share of the limit, where nothing holds it lower."""
UNDER_RACK_LIMIT = 0.945
"""A feed is overloaded by racks none of which comes near its own limit."""
LEAST_OVER_LIMIT = 1.02
RISE_SECONDS, FALL_SECONDS = 6.0, 4.0

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Incident:
    """Describe one incident: subject, cause, when, and what should be seen.

    Times are whole seconds since the epoch. The cause acts in `[starts, ends)`; an overload rises
    for `RISE_SECONDS` and falls for `FALL_SECONDS` from there on. `index` is the subject's place in
    the layout: a rack's in `racks`, a feed's in `tree`. `racks` are the racks that an overload takes
    for its job; they are idle before and after.
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
    rule: str | None
    racks: tuple[int, ...] = ()
    limit_watts: float | None = None
    peak_watts: float | None = None

    @property
    def job(self) -> str | None:
        """Return the name of the job behind an overload."""
        return f"{self.subject.partition('/')[0]}-burn-in-{self.id}" if self.racks else None

    def weight(self, second: int) -> float:
        """Return how far the overload has risen by `second`: 0 = not at all, 1 = at its peak."""
        rising = (second - self.starts) / RISE_SECONDS
        falling = 1.0 - (second - self.ends) / FALL_SECONDS
        return float(np.clip(min(rising, falling), 0.0, 1.0))

    def is_silent(self, second: int) -> bool:
        """Tell whether the subject's telemetry of `second` is lost."""
        return self.kind == SILENT_RACK and self.starts <= second < self.ends


def plan(kinds: Sequence[str], layout: Layout, start: int, rng: np.random.Generator) -> list[Incident]:
    """Choose a subject and times for each kind of incident; no rack has a part in two of them.

    Raises ConfigurationError where the facility has nothing that an incident of the kind could strike.
    """
    most = layout.racks.gpu_count.max(initial=1)
    racks = rng.permutation(np.flatnonzero(layout.racks.gpu_count >= max(most, 1)))
    feeds = rng.permutation(np.flatnonzero(layout.tree.kind == SubjectKind.FEED))
    planned: list[Incident] = []
    for number, kind in enumerate(dict.fromkeys(kinds), start=1):
        taken = {rack for incident in planned for rack in (incident.index, *incident.racks)}
        planned.append(
            _PLANS[kind](f"incident-{number}", layout, start, feeds if kind == FEED_OVERLOAD else racks, taken)
        )
    return planned


def _rack_over_limit(name: str, layout: Layout, start: int, racks: Ints, taken: set[int]) -> Incident:
    rack = _first_free(racks, taken, RACK_OVER_LIMIT)
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
        rule="rack-over-budget",
        racks=(rack,),
        limit_watts=limit,
        peak_watts=float(min(OVER_LIMIT * limit, max(0.99 * layout.racks.most_watts[rack], LEAST_OVER_LIMIT * limit))),
    )


def _feed_overload(name: str, layout: Layout, start: int, feeds: Ints, taken: set[int]) -> Incident:
    for feed in feeds:
        racks = np.unique(layout.lines.rack[layout.lines.feed == feed])
        limit = float(layout.tree.limit_watts[feed])
        within = UNDER_RACK_LIMIT * float(layout.racks.limit_watts[racks].sum())
        if within >= LEAST_OVER_LIMIT * limit and (layout.racks.gpu_count[racks] > 0).all() and not taken & set(racks):
            break
    else:
        raise ConfigurationError(
            "--incident feed-overload: no feed of the facility can be overloaded by racks that keep to their own "
            "limits, even with its twin lost; choose another incident or another facility"
        )
    return Incident(
        id=name,
        kind=FEED_OVERLOAD,
        subject_kind=SubjectKind.FEED,
        subject=layout.tree.path[feed],
        index=int(feed),
        cause_kind="fault",
        cause="the other side of its racks is lost while a burn-in job drives them: one feed carries them all",
        starts=start + 25,
        ends=start + 100,
        rule="feed-over-usable",
        racks=tuple(int(rack) for rack in racks),
        limit_watts=limit,
        peak_watts=min(OVER_LIMIT * limit, within),
    )


def _silent_rack(name: str, layout: Layout, start: int, racks: Ints, taken: set[int]) -> Incident:
    rack = _first_free(racks, taken, SILENT_RACK)
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
        rule=None,
    )


def _first_free(racks: Ints, taken: set[int], kind: str) -> int:
    for rack in racks:
        if int(rack) not in taken:
            return int(rack)
    raise ConfigurationError(f"--incident {kind}: the facility has no rack with GPUs left for it; leave it out")


_PLANS = {RACK_OVER_LIMIT: _rack_over_limit, FEED_OVERLOAD: _feed_overload, SILENT_RACK: _silent_rack}
