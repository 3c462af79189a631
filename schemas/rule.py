"""One rule: what counts as a breach, for whom, for how long; structured keys, no expression strings."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.findings import nearest
from schemas.paths import Glob, Segment
from schemas.subject import SubjectKind

Scope = Literal["rack", "feed", "row", "hall", "site", "node", "panel", "ups_group"]
Metric = Literal["power_watts", "current_amps"]
Limit = Literal["budget", "nameplate", "contract", "rated", "usable"]
Severity = Literal["info", "warning", "critical"]

Watts = Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)]
Amps = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Words = Annotated[str, Field(min_length=1, max_length=400)]

PLACES: dict[Scope, tuple[str, ...]] = {
    "site": ("site",),
    "hall": ("site", "hall"),
    "row": ("site", "hall", "row"),
    "rack": ("site", "hall", "row", "rack"),
    "node": ("site", "hall", "row", "rack", "node"),
    "feed": ("site", "feed"),
    "panel": ("site", "panel"),
    "ups_group": ("site", "ups_group"),
}
"""The placeholders for places that the words of a rule of this scope may use."""

VALUES: tuple[str, ...] = ("subject", "value", "threshold", "limit", "fraction", "since", "rule", "severity")
"""The placeholders that the words of every rule may use."""

LIMITS: dict[Scope, tuple[Limit, ...]] = {
    "site": ("budget", "contract"),
    "hall": ("budget",),
    "row": ("budget",),
    "rack": ("budget", "nameplate"),
    "node": (),
    "feed": ("rated", "usable"),
    "panel": ("rated", "usable"),
    "ups_group": ("rated",),
}
"""The limits a scope can have; a rule without `limit` takes the first that its subject has."""

_CLEARS: dict[str, str] = {
    "above_watts": "clear_below_watts",
    "above_fraction_of_limit": "clear_below_fraction_of_limit",
    "above_amps": "clear_below_amps",
    "below_watts": "clear_above_watts",
}


class Rule(BaseModel):
    """State one condition on every subject of a scope.

    Exactly one of `above_watts`, `above_fraction_of_limit`, `above_amps`, `below_watts` is given. It fires
    strictly above (below) the threshold and clears when the value is no longer above (below) the clear level,
    which is the threshold itself where none is given. `subjects` narrows the scope by globs of paths.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Segment
    """Its name; part of the identity of every alert that it gives."""
    scope: Scope
    """The kind of subject that it is about."""
    severity: Severity
    """How urgent its alerts are."""
    summary: Words
    """What an alert says, with placeholders such as {rack}, {value}, {limit}."""
    summary_ar: Words | None = None
    """The same in Arabic."""
    metric: Metric = "power_watts"
    """What is compared; current_amps needs a feed with a meter of its own."""
    subjects: Annotated[tuple[Glob, ...], Field(strict=False, min_length=1)] | None = None
    """Globs that narrow the scope; everything of the scope where not given."""
    limit: Limit | None = None
    """The limit that a fraction is of; where not given the first that the subject has, as the scope orders them."""
    above_watts: Watts | None = None
    """Fires strictly above this."""
    above_fraction_of_limit: Fraction | None = None
    """Fires strictly above this share of the limit."""
    above_amps: Amps | None = None
    """Fires strictly above this RMS current."""
    below_watts: Watts | None = None
    """Fires strictly below this."""
    clear_below_watts: Watts | None = None
    """Clears when no longer above this; goes with above_watts."""
    clear_below_fraction_of_limit: Fraction | None = None
    """Clears when no longer above this share; goes with above_fraction_of_limit."""
    clear_below_amps: Amps | None = None
    """Clears when no longer above this; goes with above_amps."""
    clear_above_watts: Watts | None = None
    """Clears when no longer below this; goes with below_watts."""
    for_secs: Seconds = 0.0
    """How long the condition must hold before the alert fires; 0 = at the first reading."""
    keep_firing_secs: Seconds = 0.0
    """How long the alert stays after the condition has cleared."""
    no_data: Literal["unknown", "breach", "ok"] = "unknown"
    """What silence means."""
    no_data_after_secs: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 60.0
    """How long a subject may be silent before that."""

    @property
    def kind(self) -> SubjectKind:
        """Return the kind of subject that the rule is about."""
        return SubjectKind[self.scope.upper()]

    @property
    def condition(self) -> str:
        """Return the name of the one condition key that is given."""
        return next(name for name in _CLEARS if getattr(self, name) is not None)

    @property
    def threshold(self) -> float:
        """Return the value of the condition: watts, amps or a fraction, as its name says."""
        return float(getattr(self, self.condition))

    @property
    def clear(self) -> float:
        """Return the clear level in the same unit: the threshold where none is given."""
        given = getattr(self, _CLEARS[self.condition])
        return self.threshold if given is None else float(given)

    @property
    def has_clear(self) -> bool:
        """Tell whether the rule names a clear level."""
        return getattr(self, _CLEARS[self.condition]) is not None

    @property
    def fires(self) -> Literal["above", "below"]:
        """Return on which side of the threshold the rule fires."""
        return "below" if self.condition == "below_watts" else "above"

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        wrong = list(_disagreements(self))
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def placeholders(words: str) -> list[str]:
    """Return the names in braces of a rule's words; ValueError where the braces do not pair."""
    return [name for _, name, _, _ in Formatter().parse(words) if name is not None]


def _disagreements(rule: Rule) -> Iterator[str]:
    given = [name for name in _CLEARS if getattr(rule, name) is not None]
    if len(given) != 1:
        yield f"exactly one of {', '.join(_CLEARS)} is needed; seen {', '.join(given) or 'none'}"
    else:
        yield from _clear_disagreements(rule, given[0])
        yield from _limit_disagreements(rule, given[0])
    for words in (rule.summary, rule.summary_ar or ""):
        yield from _placeholder_disagreements(rule, words)


def _clear_disagreements(rule: Rule, condition: str) -> Iterator[str]:
    fitting = _CLEARS[condition]
    for clear in _CLEARS.values():
        if clear != fitting and getattr(rule, clear) is not None:
            yield f"{clear} does not go with {condition}; use {fitting}"
    if rule.fires == "above" and rule.clear > rule.threshold:
        yield f"{fitting} = {rule.clear:g} lies above {condition} = {rule.threshold:g}: it would fire and clear at once"
    if rule.fires == "below" and rule.clear < rule.threshold:
        yield f"{fitting} = {rule.clear:g} lies below {condition} = {rule.threshold:g}: it would fire and clear at once"


def _limit_disagreements(rule: Rule, condition: str) -> Iterator[str]:
    if condition == "above_amps" and rule.metric != "current_amps":
        yield 'above_amps needs metric = "current_amps"'
    if rule.metric == "current_amps" and condition in ("above_watts", "below_watts"):
        yield f'{condition} needs metric = "power_watts"'
    if rule.metric == "current_amps" and rule.scope != "feed":
        yield f'metric = "current_amps" goes with scope = "feed" only; seen {rule.scope!r}'
    allowed = LIMITS[rule.scope]
    if rule.limit is not None and rule.limit not in allowed:
        yield f"a {rule.scope} has no limit {rule.limit!r}; allowed: {', '.join(allowed) or 'none'}"
    if condition == "above_fraction_of_limit" and not allowed:
        yield f"a {rule.scope} has no limit to take a fraction of; use above_watts"


def _placeholder_disagreements(rule: Rule, words: str) -> Iterator[str]:
    allowed = (*PLACES[rule.scope], *VALUES)
    try:
        names = placeholders(words)
    except ValueError as error:
        yield f"the summary's braces do not pair ({error}); write {{{{ and }}}} for braces themselves"
        return
    for name in names:
        if name not in allowed:
            shown = "{" + name[:40] + "}"
            yield f"placeholder {shown} is not allowed{nearest(name, allowed)}; allowed: {', '.join(allowed)}"
