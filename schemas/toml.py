"""TOML files: read one, hold it against its model, and say everything that is wrong at once."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.errors import ConfigurationError
from schemas.findings import Finding, Location, address, field_at, nearest_name, sentence

Model = TypeVar("Model", bound=BaseModel)

LARGEST_BYTES = 16_777_216

_STAND_INS = {"severity": "info", "redundancy": "n", "time_zone": "UTC", "name": "-", "summary": "-"}
"""Required words that nothing else refers to: with one of these the rest can be judged."""


def read(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file; raise ConfigurationError with line and column where it is none."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ConfigurationError(f"{path}: larger than {LARGEST_BYTES} bytes; is it the right file?")
        return tomllib.loads(path.read_bytes().decode())
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: nested too deeply to be a facility") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; name a file that can be read") from error


def validate(model: type[Model], raw: dict[str, Any], file: str) -> tuple[Model | None, list[Finding]]:
    """Hold `raw` against `model`; return it with the findings.

    A value that is wrong by itself is reported, then mended in a copy, so that whoever follows can look for
    what is wrong between the values too. None is returned where the rest cannot be judged.
    """
    findings: dict[tuple[str, str], Finding] = {}
    mended = deepcopy(raw)
    for _ in range(4):
        try:
            return model.model_validate(mended), list(findings.values())
        except ValidationError as error:
            errors = error.errors(include_url=False)
        for one in errors:
            finding = Finding("error", _code(one["type"]), file, address(mended, one["loc"]), sentence(model, one))
            findings.setdefault((finding.where, finding.message), finding)
        if not _mend(model, mended, [one["loc"] for one in errors]):
            break
    return None, list(findings.values())


def duplicates(raw: dict[str, Any], table: str, file: str) -> Iterator[Finding]:
    """Yield an error for every `id` that occurs twice in a list of tables."""
    items = raw.get(table)
    tables = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    for name, count in Counter(str(item.get("id")) for item in tables if "id" in item).items():
        if count > 1:
            yield Finding(
                "error", "duplicate", file, f"{table}[{name[:80]}]", f"the id {name[:80]!r} is given {count} times"
            )


def _code(kind: str) -> str:
    return {"extra_forbidden": "unknown-key", "missing": "missing-key"}.get(kind, "wrong-value")


def _mend(model: type[BaseModel], raw: dict[str, Any], locations: list[Location]) -> bool:
    """Mend every value that can be, take rules out whole that cannot; tell whether that was enough."""
    left = [location for location in locations if not _mend_value(model, raw, location)]
    if any(location[0] != "rules" or len(location) == 1 for location in left):
        return False
    for index in sorted({int(location[1]) for location in left}, reverse=True):
        del raw["rules"][index]
    return True


def _mend_value(model: type[BaseModel], raw: dict[str, Any], location: Location) -> bool:
    if location[-1] == "[key]":
        return _respell_key(*_holder(raw, location[:-1]))
    holder, key = _holder(raw, location)
    if not isinstance(holder, dict) or not isinstance(key, str):
        return False
    inner, field = field_at(model, location)
    if field is None:
        return _mend_key(inner, holder, key)
    if not field.is_required():
        holder.pop(key, None)
    elif field.annotation in (int, float):
        holder[key] = 1
    elif key in _STAND_INS:
        holder[key] = _STAND_INS[key]
    else:
        return _respell(holder, key)
    return True


def _respell(holder: dict[str, Any], key: str) -> bool:
    """Write an id or path in allowed letters, `Rack 7` as `rack-7`; what refers to it is respelled alike."""
    seen = holder.get(key)
    if not isinstance(seen, str) or seen == _allowed(seen):
        return False
    holder[key] = _allowed(seen)
    return True


def _respell_key(holder: Any, key: str | int) -> bool:
    if not isinstance(holder, dict) or not isinstance(key, str) or _allowed(key) in holder:
        return False
    holder[_allowed(key)] = holder.pop(key)
    return True


def _allowed(name: str) -> str:
    parts = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-")[:32] for part in name.split("/"))
    return "/".join(part for part in parts if part)


def _mend_key(model: type[BaseModel], holder: dict[str, Any], key: str) -> bool:
    """Take an unknown key out, and put its value under the name that was meant where one is near and missing."""
    if key not in holder:
        return False
    value = holder.pop(key)
    meant = nearest_name(key, model.model_fields)
    if meant is not None and meant not in holder:
        holder[meant] = value
    return True


def _holder(raw: Any, location: Location) -> tuple[Any, str | int]:
    for part in location[:-1]:
        if isinstance(part, int) and isinstance(raw, dict):
            continue
        try:
            raw = raw[part]
        except (LookupError, TypeError):
            return None, location[-1]
    return raw, location[-1]
