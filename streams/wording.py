"""Alerts in the words of their rule, as a person on shift reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from schemas.rule import PLACES, Rule

Unit = Literal["W", "A"]
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(value: float | None, unit: Unit) -> str:
    """Return a value with its unit: `134.6 kW`, `9.84 MW`, `850 W`, `412.0 A`; "an unknown amount" where null."""
    if value is None:
        return "an unknown amount"
    if unit == "A":
        return f"{value:,.1f} A"
    for factor, prefix in _PREFIXES:
        # 999,950 W reads 1.00 MW, not 1000.0 kW.
        if abs(value) >= factor * 0.99995:
            return f"{value / factor:,.{1 if prefix == 'k' else 2}f} {prefix}W"
    return f"{value:,.0f} W"


def span(seconds: float) -> str:
    """Return a length of time in its two largest units: `3 min 20 s`, `2 d 4 h`, `0 s`."""
    left = int(seconds)
    parts: list[str] = []
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def breach_words(
    rule: Rule, path: str, *, value: float | None, limit: float | None, threshold: float, unit: Unit, since: datetime
) -> str:
    """Return the rule's summary filled in, with the share of the limit after it where the rule does not say it."""
    base = threshold if limit is None else limit
    fraction = None if value is None or base <= 0 else value / base
    percent = "an unknown share" if fraction is None else f"{100 * fraction:.0f} %"
    words = rule.summary.format(
        **dict.fromkeys(PLACES[rule.scope], path) | places(rule, path),
        subject=path,
        value=quantity(value, unit),
        threshold=quantity(threshold, unit),
        limit=quantity(base, unit),
        fraction=percent,
        since=f"{since:%Y-%m-%d %H:%M:%S} UTC",
        rule=rule.id,
        severity=rule.severity,
    )
    says_share = "{fraction}" in rule.summary or fraction is None or limit is None
    return words if says_share else f"{words} ({percent})"


def places(rule: Rule, path: str) -> dict[str, str]:
    """Return the path of each place that a subject's path passes: site, hall, row, rack, node."""
    segments = path.split("/")
    if rule.scope not in ("site", "hall", "row", "rack", "node"):
        return {"site": segments[0], rule.scope: path}
    names = ("site", "hall", "row", "rack", "node")[: len(segments)]
    return {name: "/".join(segments[: depth + 1]) for depth, name in enumerate(names)}


def stale_words(path: str, last: datetime, fires: bool) -> str:
    """Return what to say when nothing is heard of a subject any more."""
    state = "the alert stays until it is heard again" if fires else "what was pending is withdrawn"
    return f"{path}: nothing heard for too long as of {last:%Y-%m-%d %H:%M:%S} UTC; {state}"


def keeping_words(path: str, *, value: float | None, unit: Unit, keep_secs: float) -> str:
    """Return what to say when a firing alert is back where it clears and has yet to stay there."""
    return f"{path} is back at {quantity(value, unit)}; the alert ends when it has stayed there for {span(keep_secs)}"


def resolved_words(path: str, *, value: float | None, unit: Unit, seconds: float, has_fired: bool) -> str:
    """Return what to say when an alert is over, or was withdrawn before it fired."""
    now = f"{path} is at {quantity(value, unit)}" if value is not None else f"{path}"
    return f"{now}: {'resolved' if has_fired else 'over before it fired,'} after {span(seconds)}"
