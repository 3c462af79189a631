"""What the app knows, and what is wrong with it: the one judgement that `/health` and `/metrics` share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from web.live import LiveState
from web.workers import READERS, Worker, Workers

LAGS_AFTER_SECS: dict[str, float] = {"lake": 60.0}
"""The lake writes every ten seconds; all others keep up at once."""
USUALLY_LAGS_AFTER_SECS = 10.0
UNREAD_FOR = timedelta(seconds=15)
NOT_CLOSED_FOR = timedelta(seconds=15)
FULL_WITHIN_DAYS = 3
CANARY_GRACE = timedelta(seconds=30)


@dataclass
class State:
    """Hold what was heard since `started`; `live` is None until a facility is known.

    `canary_every` None = there is no canary, as where recorded data keeps its own time; then nobody expects
    seconds to close by the clock either. `troubles` are sentences: what keeps the app from hearing of what.
    """

    started: datetime
    canary_every: timedelta | None = None
    live: LiveState | None = None
    workers: Workers = field(default_factory=Workers)
    troubles: dict[str, str] = field(default_factory=dict)

    @property
    def unreadable(self) -> int:
        """Return how many messages could not be read."""
        return self.workers.unreadable + (self.live.unreadable if self.live else 0)

    def canary_age(self, now: datetime) -> timedelta | None:
        """Return for how long no alert of the canary fired, None where none ever did."""
        return now - self.live.canary.appended if self.live and self.live.canary else None

    def canary_delay(self) -> timedelta | None:
        """Return from when to when its newest alert took: the time of its reading to Kafka's time of the alert."""
        heard = self.live.canary if self.live else None
        return heard.appended - heard.alert.at if heard else None

    def problems(self, now: datetime) -> list[str]:
        """Return a sentence for everything that is wrong, none where all is well; `now` carries a zone."""
        return [
            *(f"{what} cannot be heard: {why}" for what, why in self.troubles.items()),
            *self._unheard(now),
            *self._behind(now),
            *self._unread(now),
            *self._not_closed(now),
            *self._of_lake(now),
            *self._overdue(now),
        ]

    def _unheard(self, now: datetime) -> Iterator[str]:
        workers = self.workers.at(now)
        for worker in workers:
            if not worker.is_heard(now):
                every = timedelta(seconds=worker.health.every_secs)
                yield f"{worker.name} was last heard {words(now - worker.heard)} ago; it speaks every {words(every)}"
        if now - self.started < UNREAD_FOR:
            return
        for app in READERS:
            if not any(worker.health.app == app for worker in workers):
                yield f"no worker of {app} is heard: is it running?"

    def _behind(self, now: datetime) -> Iterator[str]:
        for worker in self.workers.at(now):
            bound = LAGS_AFTER_SECS.get(worker.health.app, USUALLY_LAGS_AFTER_SECS)
            for each in worker.health.partitions:
                if each.lag_seconds is not None and each.lag_seconds > bound:
                    behind = words(timedelta(seconds=each.lag_seconds))
                    yield f"{worker.name} is {behind} behind in {each.topic}/{each.partition}"

    def _unread(self, now: datetime) -> Iterator[str]:
        heard = {worker.health.app for worker in self.workers.at(now)}
        for (app, topic), (partitions, since) in self.workers.unread(now).items():
            if app in heard and since > UNREAD_FOR:
                which = ", ".join(map(str, partitions))
                yield f"no worker of {app} reads {topic}, partition {which}, since {words(since)}"

    def _not_closed(self, now: datetime) -> Iterator[str]:
        if self.live is None or self.canary_every is None:
            return
        for site, end in sorted(self.live.closed.items()):
            if now - end > NOT_CLOSED_FOR:
                yield f"no second of {site} was closed for {words(now - end)}"

    def _of_lake(self, now: datetime) -> Iterator[str]:
        for worker in self.workers.at(now):
            lake = worker.health.lake if worker.is_heard(now) else None
            if lake is None:
                continue
            if lake.missing_rows:
                yield f"{lake.missing_rows:,} rows of the lake are missing: their files were damaged (FROM damage)"
            if lake.days_left is not None and lake.days_left < FULL_WITHIN_DAYS:
                yield f"the disk of the lake is full in {lake.days_left} days: `wattline lake status` says why"
            if not lake.holds_budget:
                yield "the lake is over its disk_budget_bytes, and no table may be shortened further (lake.toml)"

    def _overdue(self, now: datetime) -> Iterator[str]:
        if self.canary_every is None:
            return
        age = self.canary_age(now)
        waited = now - self.started if age is None else min(age, now - self.started)
        if waited > self.canary_every + min(CANARY_GRACE, self.canary_every):
            last = "never came" if age is None else f"came last {words(age)} ago"
            yield (
                f"the canary's alert is overdue: due every {words(self.canary_every)}, it {last}; "
                "readings do not become alerts"
            )


def words(span: timedelta) -> str:
    """Return a span for a person, in its largest whole unit."""
    seconds = span.total_seconds()
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def longest_lag(worker: Worker) -> float | None:
    """Return the longest lag of a worker's partitions in seconds, None where none is known."""
    return max((each.lag_seconds for each in worker.health.partitions if each.lag_seconds is not None), default=None)
