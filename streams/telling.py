"""Transitions told as alerts: the columns of what happened turned into events with words, cause and evidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from schemas.alert import Alert, Evidence, alert_id, moment
from schemas.subject import SubjectKind
from streams.alert_state import NEVER, TO_KEEPING, TO_RESOLVED, TO_STALE, TRANSITIONS, Transitions
from streams.condition import Floats, Ints
from streams.reading_state import LONG_AGO
from streams.running_jobs import Causes
from streams.watch import Watch
from streams.wording import Unit, breach_words, keeping_words, resolved_words, stale_words

_BASIS: dict[int, Literal["measured", "derived", "estimate"]] = {1: "measured", 2: "derived", 3: "estimate"}


class Machine(msgspec.Struct, frozen=True, array_like=True):
    """Name one machine that has something to remember, with all that is needed to end its alert."""

    rule: str
    rule_version: str
    subject_kind: int
    subject: int
    path: str
    site: str
    severity: str


def machine_of(watch: Watch, row: int) -> Machine:
    """Return the machine of a rule row."""
    watched = watch.rows[row]
    rule = watch.rules[watched.rule]
    return Machine(
        rule=rule.id,
        rule_version=watch.versions[watched.rule],
        subject_kind=watched.subject_kind,
        subject=watched.subject,
        path=watched.path,
        site=watched.site,
        severity=rule.severity,
    )


class Facts(NamedTuple):
    """Hold what was known at each evaluation; `earlier_at` LONG_AGO where there was no evaluation before.

    `basis`: 1 measured, 2 derived, 3 estimate.
    """

    value: Floats
    expected: Ints
    reporting: Ints
    basis: Ints
    earlier_at: Ints
    earlier_value: Floats

    def pick(self, chosen: Ints) -> Facts:
        """Return the facts that an index chooses."""
        return Facts._make(column[chosen] for column in self)


def no_facts() -> Facts:
    """Return the facts of no evaluation: what silence is told with."""
    whole: Ints = np.zeros(0, dtype=np.int64)
    real: Floats = np.zeros(0)
    return Facts(real, whole, whole, whole, whole, real)


def alerts_of(watch: Watch, happened: Transitions, facts: Facts, causes: Causes) -> list[Alert]:
    """Return one alert event a transition, in order; `facts` by the transitions' `where`."""
    return [_alert(watch, _Told(*each), facts, causes) for each in _rows(happened)]


def ended(machine: Machine, state: dict[str, int]) -> Alert:
    """Return the end of an alert that no rule in force watches any more; `state` is its machine's."""
    fired = state["fired"]
    return Alert(
        id=alert_id(machine.rule, machine.path, state["start"]),
        transition="resolved",
        rule=machine.rule,
        rule_version=machine.rule_version,
        site=machine.site,
        subject_kind=SubjectKind(machine.subject_kind).name.lower(),
        subject=machine.path,
        severity=machine.severity,
        start=moment(state["start"]),
        at=moment(state["seen"]),
        fired=None if fired == NEVER else moment(fired),
        summary=f"{machine.path}: the rule {machine.rule} watches it no longer; the alert ends unresolved",
    )


class _Told(NamedTuple):
    row: int
    code: int
    at: int
    start: int
    fired: int
    where: int


def _rows(happened: Transitions) -> Iterator[tuple[int, ...]]:
    return zip(*(column.tolist() for column in happened), strict=True)


def _alert(watch: Watch, told: _Told, facts: Facts, causes: Causes) -> Alert:
    row = watch.rows[told.row]
    rule, path = watch.rules[row.rule], row.path
    measured = {} if told.where < 0 else _measured(told, facts)
    unit: Unit = "A" if row.metric == "current_amps" else "W"
    begins = told.code < TO_STALE
    return Alert(
        id=alert_id(rule.id, path, told.start),
        transition=TRANSITIONS[told.code],  # type: ignore[arg-type]
        rule=rule.id,
        rule_version=watch.versions[row.rule],
        site=row.site,
        subject_kind=SubjectKind(row.subject_kind).name.lower(),
        subject=path,
        severity=rule.severity,
        start=moment(told.start),
        at=moment(told.at),
        fired=None if told.fired == NEVER else moment(told.fired),
        limit=row.limit,
        threshold=row.threshold,
        unit=unit,
        summary=_words(watch, told, measured.get("value"), unit),
        cause=causes(row.subject_kind, row.subject, path, told.start) if begins else (),
        **measured,
    )


def _measured(told: _Told, facts: Facts) -> dict[str, Any]:
    """Return what an alert says of the evaluation that it comes from."""
    return {
        "value": float(facts.value[told.where]),
        "basis": _BASIS.get(int(facts.basis[told.where])),
        "expected": int(facts.expected[told.where]),
        "reporting": int(facts.reporting[told.where]),
        "evidence": _evidence(told, facts),
    }


def _words(watch: Watch, told: _Told, value: float | None, unit: Unit) -> str:
    row = watch.rows[told.row]
    rule, path = watch.rules[row.rule], row.path
    fires = told.fired != NEVER
    if told.code == TO_STALE or (told.code == TO_RESOLVED and value is None and not fires):
        return stale_words(path, moment(told.at), fires)
    if told.code == TO_RESOLVED:
        return resolved_words(path, value=value, unit=unit, seconds=(told.at - told.start) / 1e6, has_fired=fires)
    if told.code == TO_KEEPING:
        return keeping_words(path, value=value, unit=unit, keep_secs=rule.keep_firing_secs)
    since, threshold = moment(told.start), row.threshold
    return breach_words(rule, path, value=value, limit=row.limit, threshold=threshold, unit=unit, since=since)


def _evidence(told: _Told, facts: Facts) -> tuple[Evidence, ...]:
    now = Evidence(moment(told.at), float(facts.value[told.where]))
    earlier = int(facts.earlier_at[told.where])
    if earlier == LONG_AGO:
        return (now,)
    value = float(facts.earlier_value[told.where])
    return Evidence(moment(earlier), None if np.isnan(value) else value), now
