"""The check of a facility and its rules: offline, complete, nothing but files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from schemas import capacity, facility
from schemas.errors import ConfigurationError
from schemas.facility import Facility
from schemas.findings import Finding, nearest
from schemas.metering import MEASURED
from schemas.paths import PathIndex
from schemas.registry import Registry, assign
from schemas.rule import LIMITS, Rule
from schemas.rules import read_rules, resolve
from schemas.subject import SubjectKind

ABSURD = 2.0
"""Admission refuses readings above this many times the nameplate (schemas.md 5)."""


@dataclass(frozen=True)
class Checked:
    """Hold what a check found, errors first, and the registry that the facility would give."""

    findings: tuple[Finding, ...]
    registry: Registry | None
    is_whole: bool = True
    """False where so much is wrong that what refers to what could not be judged."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return the findings that keep the facility from being used."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Return the findings that may be meant."""
        return tuple(finding for finding in self.findings if finding.level == "warning")


def check(path: Path, rules_path: Path | None = None) -> Checked:
    """Check a facility and its rules, or those of `rules_path` instead; warnings only where nothing is wrong."""
    found, findings = _facility(path)
    rules, wrong_rules = _rules(rules_path)
    findings += wrong_rules
    if found is None or findings:
        return Checked(tuple(findings), None, is_whole=found is not None)
    registry = assign(found)
    rules_file = str(rules_path or path)
    doubts = [
        *capacity.doubts(found, str(path)),
        *_unmetered(registry, str(path)),
        *_rule_doubts(rules if rules is not None else found.rules, registry, rules_file),
    ]
    return Checked(tuple(doubts), registry)


def _facility(path: Path) -> tuple[Facility | None, list[Finding]]:
    try:
        return facility.read(path)
    except ConfigurationError as error:
        return None, [_unreadable(path, error)]


def _rules(path: Path | None) -> tuple[tuple[Rule, ...] | None, list[Finding]]:
    if path is None:
        return None, []
    try:
        return read_rules(path)
    except ConfigurationError as error:
        return None, [_unreadable(path, error)]


def _unreadable(path: Path, error: ConfigurationError) -> Finding:
    return Finding("error", "unreadable", str(path), "the file", str(error).removeprefix(f"{path}: "))


def _unmetered(registry: Registry, file: str) -> Iterator[Finding]:
    """Find feeds whose power nobody can tell: no meter of their own, and a rack without one on this feed."""
    known = registry.sums.filter(pl.col("subject_kind") == SubjectKind.FEED)["subject"]
    inputs = registry.meters.filter(pl.col("feed").is_not_null()).select("feed", rack="subject")
    silent = registry.feed_racks.filter(~pl.col("feed").is_in(known.implode())).join(
        inputs, on=["feed", "rack"], how="anti"
    )
    named = silent.join(registry.feeds.select("feed", "path"), on="feed").join(
        registry.racks.select("rack", rack_path="path"), on="rack"
    )
    for (path,), racks in named.group_by("path", maintain_order=True):
        message = (
            f"has no meter, and {len(racks)} of its racks have none on it, the first is {racks['rack_path'][0]}: "
            "its power is not known, so no rule watches it"
        )
        yield Finding("warning", "not-metered", file, str(path), message)


def _rule_doubts(rules: Sequence[Rule], registry: Registry, file: str) -> Iterator[Finding]:
    resolved = resolve(rules, registry)
    for index, rule in enumerate(rules):
        where = f"rules[{rule.id}]"
        subjects = resolved.filter(pl.col("rule") == index)
        for code, message in (
            *_never_fires(rule, registry, subjects),
            *_no_hysteresis(rule),
            *_too_hasty(rule, registry, subjects),
        ):
            yield Finding("warning", code, file, where, message)


def _never_fires(rule: Rule, registry: Registry, subjects: pl.DataFrame) -> Iterator[tuple[str, str]]:
    paths = registry.paths(rule.kind)["path"].to_list()
    index = PathIndex(paths)
    for glob in rule.subjects or ():
        if not index.matching(glob):
            yield "never-fires", f"never fires there: {glob!r} names no {rule.scope}{nearest(glob, paths)}"
    if not subjects.is_empty():
        yield from _out_of_reach(rule, registry, subjects)
    elif rule.subjects is None or any(index.matching(glob) for glob in rule.subjects):
        yield "never-fires", f"never fires: {_why_nothing(rule, paths)}"


def _why_nothing(rule: Rule, paths: list[str]) -> str:
    if not paths:
        return f"the facility has no {rule.scope}"
    if rule.metric == "current_amps":
        return f"no {rule.scope} that it names has a meter of its own, which is what tells the current"
    if rule.condition == "above_fraction_of_limit":
        limit = rule.limit or " or ".join(LIMITS[rule.scope])
        return f"no {rule.scope} that it names has both a limit ({limit}) and something that measures it"
    return f"nothing measures a {rule.scope} that it names"


def _out_of_reach(rule: Rule, registry: Registry, subjects: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Find thresholds that no rack can pass, because admission refuses readings that high."""
    if rule.kind != SubjectKind.RACK or rule.fires == "below":
        return
    racks = registry.racks.select(subject="rack", most=pl.col("nameplate_watts") * ABSURD)
    reach = (pl.col("threshold") < pl.col("most")) | pl.col("most").is_null()
    if subjects.join(racks, on="subject").filter(reach).is_empty():
        yield (
            "never-fires",
            f"never fires: {rule.condition} lies above {ABSURD:g} × the nameplate of every rack it names",
        )


def _no_hysteresis(rule: Rule) -> Iterator[tuple[str, str]]:
    if rule.has_clear and rule.clear == rule.threshold:
        yield (
            "clear-at-threshold",
            "the clear level is the threshold itself; put it lower so that the alert does not flap",
        )


def _too_hasty(rule: Rule, registry: Registry, subjects: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Find holds shorter than two sampling periods: one reading would decide, whatever `for_secs` says."""
    if rule.for_secs == 0:
        return
    metered = subjects.join(registry.sums, on=["subject_kind", "subject"]).join(registry.meters, on="meter")
    slowest = metered.filter(pl.col("basis") >= MEASURED)["interval_seconds"].max()
    if isinstance(slowest, float) and rule.for_secs < 2 * slowest:
        message = f"for_secs = {rule.for_secs:g} is shorter than two sampling periods of {slowest:g} s"
        yield "short-hold", message
