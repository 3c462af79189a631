"""Rules: read them, and spread them over the subjects of a registry as one frame."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from schemas import toml
from schemas.facility import read
from schemas.findings import Finding, refuse
from schemas.metering import MEASURED
from schemas.paths import PathIndex
from schemas.registry import Registry
from schemas.rule import LIMITS, Rule
from schemas.site_frames import Schema
from schemas.subject import SubjectKind

__all__ = ["RESOLVED", "Rule", "RulesFile", "default_rules", "load_rules", "read_rules", "resolve"]

RESOLVED: Schema = {
    "rule": pl.Int32,
    "subject_kind": pl.Int8,
    "subject": pl.Int32,
    "input": pl.String,
    "metric": pl.String,
    "fires": pl.String,
    "threshold": pl.Float64,
    "clear": pl.Float64,
    "limit": pl.Float64,
    "for_us": pl.Int64,
    "keep_us": pl.Int64,
    "no_data": pl.String,
    "no_data_after_us": pl.Int64,
    "severity": pl.String,
}

_READ_AT_ONCE = (SubjectKind.RACK, SubjectKind.NODE, SubjectKind.FEED)
_NEEDS_METERS = (SubjectKind.NODE, SubjectKind.FEED, SubjectKind.PANEL, SubjectKind.UPS_GROUP)


class RulesFile(BaseModel):
    """Hold a file that carries rules only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[1] = 1
    rules: Annotated[tuple[Rule, ...], Field(strict=False)] = ()


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Read the `[[rules]]` of a rules file or of a facility; a facility without any gets `default_rules()`.

    Raises ConfigurationError with every error of the file at once.
    """
    rules, findings = read_rules(path)
    refuse(findings)
    return rules or default_rules()


def read_rules(path: Path) -> tuple[tuple[Rule, ...], list[Finding]]:
    """Read the `[[rules]]` of a rules file or of a facility and return them with every error found."""
    raw = toml.read(path)
    if "sites" in raw:
        facility, findings = read(path)
        return facility.rules if facility else (), findings
    file, findings = toml.validate(RulesFile, raw, str(path))
    findings += toml.duplicates(raw, "rules", str(path))
    if not raw.get("rules"):
        findings.append(
            Finding("error", "missing-key", str(path), "rules", "a file of rules needs at least one [[rules]]")
        )
    return file.rules if file else (), findings


def default_rules() -> tuple[Rule, ...]:
    """Return the rules of schemas/default_rules.toml."""
    with resources.as_file(resources.files("schemas") / "default_rules.toml") as path:
        return load_rules(path)


def resolve(rules: Sequence[Rule], registry: Registry) -> pl.DataFrame:
    """Spread rules over the subjects of a registry: one row a (rule, subject), columns RESOLVED.

    `rule` is the index in `rules`; `input` is "reading" (evaluate on telemetry.power.v1 at the moment of the
    reading) or "partial"; `threshold`, `clear` and `limit` are in the unit of `metric` (W or A), `fires` is
    "above" or "below"; `limit` is null where the subject has none and the rule needs none. A subject without
    the limit that a rule refers to, or without the meters that it needs, has no row. Ordered by (rule, subject).
    """
    rows = [_resolve(index, rule, registry) for index, rule in enumerate(rules)]
    return pl.concat([pl.DataFrame(schema=RESOLVED), *rows])


def _resolve(index: int, rule: Rule, registry: Registry) -> pl.DataFrame:
    found = _with_input(rule, registry, _subjects(rule, registry))
    found = found.join(_limits(rule, registry), on="subject", how="left")
    factor = pl.lit(1.0)
    if rule.condition == "above_fraction_of_limit":
        factor = pl.col("limit")
        found = found.filter(pl.col("limit").is_not_null())
    return rule_rows(index, rule, found.sort("subject").with_columns(factor=factor))


def rule_rows(index: int, rule: Rule, subjects: pl.DataFrame) -> pl.DataFrame:
    """Return RESOLVED rows of one rule; `subjects`: subject i32, input, limit, and `factor` of its thresholds."""
    factor = pl.col("factor")
    return subjects.select(
        rule=pl.lit(index, pl.Int32),
        subject_kind=pl.lit(rule.kind, pl.Int8),
        subject="subject",
        input="input",
        metric=pl.lit(rule.metric),
        fires=pl.lit(rule.fires),
        threshold=rule.threshold * factor,
        clear=rule.clear * factor,
        limit="limit",
        for_us=pl.lit(round(rule.for_secs * 1_000_000), pl.Int64),
        keep_us=pl.lit(round(rule.keep_firing_secs * 1_000_000), pl.Int64),
        no_data=pl.lit(rule.no_data),
        no_data_after_us=pl.lit(round(rule.no_data_after_secs * 1_000_000), pl.Int64),
        severity=pl.lit(rule.severity),
    )


def _subjects(rule: Rule, registry: Registry) -> pl.DataFrame:
    """Return frame (subject, path) of what the rule's scope and globs name."""
    paths = registry.paths(rule.kind).select("path", subject="id")
    if rule.subjects is None:
        return paths
    index = PathIndex(paths["path"])
    named = [path for glob in rule.subjects for path in index.matching(glob)]
    return paths.filter(pl.col("path").is_in(named))


def _with_input(rule: Rule, registry: Registry, subjects: pl.DataFrame) -> pl.DataFrame:
    """Add `input`, and leave out what nothing measures."""
    metered = registry.sums.filter(pl.col("subject_kind") == rule.kind).group_by("subject").agg(pl.col("basis").max())
    found = subjects.join(metered, on="subject", how="left")
    own = pl.col("basis").eq_missing(MEASURED)
    if rule.metric == "current_amps":
        found = found.filter(own)
    elif rule.kind in _NEEDS_METERS:
        found = found.filter(pl.col("basis").is_not_null())
    elif rule.kind == SubjectKind.RACK:
        with_gpus = registry.racks.filter(pl.col("gpus") > 0)["rack"]
        found = found.filter(pl.col("basis").is_not_null() | pl.col("subject").is_in(with_gpus.implode()))
    at_once = own if rule.kind in _READ_AT_ONCE else pl.lit(False)
    return found.with_columns(input=pl.when(at_once).then(pl.lit("reading")).otherwise(pl.lit("partial")))


def _limits(rule: Rule, registry: Registry) -> pl.DataFrame:
    """Return frame (subject, limit): the limit that the rule names, else the first of its scope that there is."""
    names = (rule.limit,) if rule.limit else LIMITS[rule.scope]
    if rule.metric == "current_amps":
        usable = pl.col("usable_fraction") if names[0] == "usable" else pl.lit(1.0)
        return registry.feeds.select(subject="feed", limit=pl.col("rated_amps") * usable)
    order = pl.DataFrame(
        {"limit": list(names), "order": list(range(len(names)))}, schema={"limit": pl.String, "order": pl.Int32}
    )
    of_kind = registry.limits.filter(pl.col("kind") == rule.kind).join(order, on="limit")
    return of_kind.sort("order").group_by("id", maintain_order=True).first().select(subject="id", limit="watts")
