"""Watches: the rules in force, resolved on each registry of a timeline, so that every second has its watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas import canary
from schemas.registry import Registry
from schemas.rules import Rule
from schemas.timeline import Timeline
from streams.watch import Watch, watch


class Stretch(NamedTuple):
    """Hold the watch of the seconds that begin in `[start, end)`, UTC µs."""

    start: int
    end: int
    watch: Watch


class Watches:
    """Resolve rules on the registries of a timeline, each once and when it is asked for."""

    def __init__(self, rules: Sequence[Rule], timeline: Timeline, known: dict[int, Watch] | None = None) -> None:
        self._rules = rules
        self.timeline = timeline
        self._known = {} if known is None else known

    @classmethod
    def always(cls, watched: Watch) -> Watches:
        """Return the watches of a facility that never changes."""
        rules = [rule for rule in watched.rules if rule is not canary.RULE]
        return cls(rules, Timeline.always(watched.registry), {id(watched.registry): watched})

    def following(self, timeline: Timeline) -> Watches:
        """Return the watches of the same rules on a timeline that has grown."""
        return Watches(self._rules, timeline, self._known)

    def at(self, second: int) -> Watch:
        """Return what is watched at a time in UTC µs."""
        return self.between(second, second + 1)[0].watch

    def between(self, first: int, end: int) -> list[Stretch]:
        """Return the stretches that hold a time of `[first, end)`, UTC µs; at least that of `first`."""
        epochs = self.timeline.between(first, end)
        return [Stretch(epoch.start, epoch.end, self._of(epoch.registry)) for epoch in epochs]

    def change_after(self, second: int) -> int | None:
        """Return the next second after this one from which another registry is in force, None where there is none."""
        return next((epoch.start for epoch in self.timeline.epochs if epoch.start > second), None)

    def _of(self, registry: Registry) -> Watch:
        # By identity: a timeline has one object for the same versions, and the watch keeps it alive.
        if id(registry) not in self._known:
            self._known[id(registry)] = watch(self._rules, registry)
        return self._known[id(registry)]
