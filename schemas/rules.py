"""Rules: what counts as a breach, for whom, for how long; structured keys, no expression strings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from schemas.paths import Glob, Segment
from schemas.subject import SubjectKind

if TYPE_CHECKING:
    from schemas.registry import Registry

Scope = Literal["rack", "feed", "row", "hall", "site", "node", "panel", "ups_group"]
Metric = Literal["power_watts", "current_amps"]
Limit = Literal["budget", "nameplate", "contract", "rated", "usable"]
Severity = Literal["info", "warning", "critical"]

Watts = Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)]
Amps = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]

PLACEHOLDERS: dict[Scope, tuple[str, ...]] = {
    "site": ("site",),
    "hall": ("site", "hall"),
    "row": ("site", "hall", "row"),
    "rack": ("site", "hall", "row", "rack"),
    "node": ("site", "hall", "row", "rack", "node"),
    "feed": ("site", "feed"),
    "panel": ("site", "panel"),
    "ups_group": ("site", "ups_group"),
}
"""Names of places that the words of a rule of this scope may use; VALUES may stand in any."""

VALUES: tuple[str, ...] = ("subject", "value", "threshold", "limit", "fraction", "since", "rule", "severity")
"""Placeholders that every rule may use."""

RESOLVED: dict[str, pl.DataType | type[pl.DataType]] = {
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


class Rule(BaseModel):
    """State one condition on every subject of a scope.

    Exactly one of `above_watts`, `above_fraction_of_limit`, `above_amps`, `below_watts` is given. It fires
    strictly above (below) the threshold and clears when the value is no longer above (below) the clear level,
    which is the threshold itself where none is given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Segment
    scope: Scope
    severity: Severity
    summary: Annotated[str, Field(min_length=1, max_length=400)]
    summary_ar: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    metric: Metric = "power_watts"
    subjects: Annotated[tuple[Glob, ...], Field(strict=False, min_length=1)] | None = None
    limit: Limit | None = None
    above_watts: Watts | None = None
    above_fraction_of_limit: Fraction | None = None
    above_amps: Amps | None = None
    below_watts: Watts | None = None
    clear_below_watts: Watts | None = None
    clear_below_fraction_of_limit: Fraction | None = None
    clear_below_amps: Amps | None = None
    clear_above_watts: Watts | None = None
    for_secs: Seconds = 0.0
    keep_firing_secs: Seconds = 0.0
    no_data: Literal["unknown", "breach", "ok"] = "unknown"
    no_data_after_secs: Annotated[float, Field(gt=0, le=86_400)] = 60.0

    @property
    def kind(self) -> SubjectKind:
        """Return the kind of subject that the rule is about."""
        return SubjectKind[self.scope.upper()]


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Read the `[[rules]]` of a rules file or of a facility; a facility without any gets `default_rules()`.

    Raises ConfigurationError with every error of the file at once.
    """
    raise NotImplementedError


def default_rules() -> tuple[Rule, ...]:
    """Return the rules of schemas/default_rules.toml."""
    raise NotImplementedError


def resolve(rules: tuple[Rule, ...], registry: Registry) -> pl.DataFrame:
    """Spread rules over the subjects of a registry: one row a (rule, subject), columns RESOLVED.

    `rule` is the index in `rules`; `input` is "reading" (evaluate on telemetry.power.v1 at the moment of the
    reading) or "partial"; `threshold`, `clear` and `limit` are in the unit of `metric` (W or A), `fires` is
    "above" or "below"; `limit` is null where the subject has none and the rule needs none. A subject
    without the limit that a rule refers to, or without the measurement it needs, has no row.
    """
    raise NotImplementedError
