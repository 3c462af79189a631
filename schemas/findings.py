"""Findings: what a check has to say about a file, and how a wrong value becomes a sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.errors import ConfigurationError
from schemas.paths import PATH_PATTERN, SEGMENT_PATTERN

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """Say what is wrong (error) or doubtful (warning), in which file, at which key or path."""

    level: Literal["error", "warning"]
    code: str
    file: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.level}: {self.where}: {self.message}"


def refuse(findings: Sequence[Finding]) -> None:
    """Raise ConfigurationError with every error among `findings`, one a line; return where there is none."""
    errors = [str(finding) for finding in findings if finding.level == "error"]
    if not errors:
        return
    if len(errors) == 1:
        raise ConfigurationError(errors[0])
    raise ConfigurationError("\n".join([f"{len(errors)} errors", *errors]))


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the nearest of `allowed`, "" where nothing is near."""
    near = nearest_name(name, allowed)
    return f" (did you mean {near!r}?)" if near else ""


def nearest_name(name: str, allowed: Iterable[str]) -> str | None:
    """Return the nearest of `allowed`, None where nothing is near."""
    return next(iter(difflib.get_close_matches(name[:120], list(allowed), n=1, cutoff=0.6)), None)


def some(names: Iterable[str], most: int = 12) -> str:
    """Return the first `most` names with commas, and how many more there are."""
    listed = list(names)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "") or "none"


def field_at(model: type[BaseModel], location: Location) -> tuple[type[BaseModel], FieldInfo | None]:
    """Follow the location of a pydantic error; return the innermost model and the field it ends in."""
    found: FieldInfo | None = None
    is_key = False
    for part in location:
        if isinstance(part, int):
            continue
        if is_key:
            is_key, found = False, None
            continue
        found = model.model_fields.get(part)
        if found is None:
            break
        inner = _model_in(found.annotation)
        is_key = _holds_dict(found.annotation)
        if inner is not None and location[-1] != part:
            model = inner
    return model, found


def sentence(model: type[BaseModel], error: Any) -> str:
    """Return what a pydantic error means: the value seen, what is allowed."""
    location: Location = error["loc"]
    kind, seen = error["type"], error.get("input")
    inner, _ = field_at(model, location)
    if kind == "extra_forbidden":
        key = str(location[-1])
        allowed = sorted(inner.model_fields)
        return f"unknown key {key[:80]!r}{nearest(key, allowed)}; allowed: {', '.join(allowed)}"
    if kind == "missing":
        return f"the key {str(location[-1])!r} is missing"
    if kind == "string_pattern_mismatch":
        return f"{_shown(seen)} is not allowed; {_pattern_words(error['ctx']['pattern'])}"
    if kind == "literal_error":
        return f"{_shown(seen)} is not allowed; allowed: {error['ctx']['expected']}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    message = (
        str(error["msg"]).replace("Input should", "must").replace("String should", "must").replace("tuple", "list")
    )
    return f"{message[0].lower()}{message[1:]}; seen {_shown(seen)}"


def address(raw: Any, location: Location) -> str:
    """Return a location as a person would say it: list items by their id, `sites[ruh].halls[h1].id`."""
    words = ""
    for part in location:
        if part == "[key]":
            continue
        if isinstance(part, int) and isinstance(raw, dict):
            continue
        raw = _inside(raw, part)
        if isinstance(part, int):
            name = raw.get("id") if isinstance(raw, dict) else None
            words += f"[{name[:80] if isinstance(name, str) else part}]"
        elif "/" in part or "." in part:
            words += f'."{part[:120]}"'
        else:
            words += f".{part[:120]}"
    return words.lstrip(".") or "the file"


def _inside(raw: Any, part: str | int) -> Any:
    try:
        return raw[part]
    except (LookupError, TypeError):
        return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _pattern_words(pattern: str) -> str:
    segment = "lower-case letters, digits and '-', at most 32 characters, not beginning with '-'"
    if pattern == f"^{SEGMENT_PATTERN}$":
        return f"allowed: {segment}"
    if pattern == f"^{PATH_PATTERN}$":
        return f"allowed: at most 7 parts joined by '/', each of {segment}"
    return f"allowed: {pattern}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def _holds_dict(annotation: Any) -> bool:
    return get_origin(annotation) is dict or annotation is dict
