"""Alerts for a terminal: transitions folded into one line an alert, or told one by one. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from schemas.alert import Alert
from schemas.printable import printable
from streams.wording import quantity, span

REMEMBERED = 100_000
"""Transitions that `--follow` remembers, so that what a restart sends again is printed once."""

STATES = {
    "pending": "pending",
    "firing": "firing",
    "continued": "firing",
    "keeping": "firing, below clear",
    "stale": "firing, unheard",
    "amended": "amended",
    "resolved": "resolved",
}


class Episode(NamedTuple):
    """Hold one alert: its first transition and its last one, and the one with which it fired."""

    first: Alert
    last: Alert
    fired: Alert | None

    @property
    def state(self) -> str:
        """Return the state in words; what ended before it fired was withdrawn."""
        if self.last.transition == "resolved" and self.last.fired is None:
            return "withdrawn"
        return STATES[self.last.transition]

    @property
    def is_firing(self) -> bool:
        """Tell whether people were told of it and it is not over."""
        return self.last.fired is not None and self.last.transition != "resolved"


def fold(alerts: Iterable[Alert]) -> list[Episode]:
    """Return one episode an alert, the newest start first; repeated and older transitions change nothing."""
    episodes: dict[str, Episode] = {}
    for alert in alerts:
        fired = alert if alert.transition == "firing" else None
        known = episodes.get(alert.id)
        if known is None:
            episodes[alert.id] = Episode(alert, alert, fired)
            continue
        # After a restart the log may tell old transitions again, so the time of the event decides.
        first = alert if alert.at < known.first.at else known.first
        last = alert if alert.is_after(known.last) else known.last
        episodes[alert.id] = Episode(first, last, known.fired or fired)
    return sorted(episodes.values(), key=lambda episode: (episode.first.start, episode.first.id), reverse=True)


def as_lines(episodes: Iterable[Episode], now: datetime) -> Iterator[str]:
    """Return a head and one line an episode, columns aligned."""
    head = ("since (UTC)", "severity", "state", "subject", "at start", "last", "for", "rule")
    rows = [head, *(_columns(episode, now) for episode in episodes)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def as_json(episode: Episode, now: datetime) -> dict[str, object]:
    """Return an episode as JSON's types: its facts, and start, last value and duration beside them."""
    begun, last = episode.fired or episode.first, episode.last
    return {
        "id": last.id,
        "rule": last.rule,
        "severity": last.severity,
        "state": episode.state,
        "site": last.site,
        "subject_kind": last.subject_kind,
        "subject": last.subject,
        "since": last.start.isoformat(),
        "fired": None if last.fired is None else last.fired.isoformat(),
        "ended": last.at.isoformat() if last.transition == "resolved" else None,
        "duration_seconds": _seconds(episode, now),
        "unit": last.unit,
        "value_at_start": begun.value,
        "limit_at_start": begun.limit,
        "value_last": last.value,
        "limit_last": last.limit,
        "expected": last.expected,
        "reporting": last.reporting,
        "summary": begun.summary,
        "cause": [cause.job for cause in begun.cause],
    }


def told(alert: Alert) -> str:
    """Return one transition as a line."""
    words = f"{alert.at:%Y-%m-%d %H:%M:%S}  {alert.severity:<8}  {alert.transition:<9}  {alert.summary}"
    return printable(words)


class Once:
    """Tell which transitions are new; an old one may come again after a restart."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._seen: OrderedDict[object, None] = OrderedDict()
        self._remembered = remembered

    def is_new(self, alert: Alert) -> bool:
        """Tell whether this transition was not asked about before."""
        if alert.identity in self._seen:
            return False
        self._seen[alert.identity] = None
        if len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
        return True


def _columns(episode: Episode, now: datetime) -> tuple[str, ...]:
    begun, last = episode.fired or episode.first, episode.last
    cells = (
        f"{last.start:%Y-%m-%d %H:%M:%S}",
        last.severity,
        episode.state,
        f"{last.subject_kind} {last.subject}",
        _of_limit(begun),
        _of_limit(last),
        span(_seconds(episode, now)),
        last.rule,
    )
    return tuple(printable(cell) for cell in cells)


def _of_limit(alert: Alert) -> str:
    if alert.value is None:
        return "—"
    bound = alert.threshold if alert.limit is None else alert.limit
    return quantity(alert.value, alert.unit) + ("" if bound is None else f" of {quantity(bound, alert.unit)}")


def _seconds(episode: Episode, now: datetime) -> float:
    end = episode.last.at if episode.last.transition == "resolved" else max(now, episode.last.at)
    return max(0.0, (end - episode.last.start).total_seconds())
