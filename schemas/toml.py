"""TOML files: read one, hold it against its model, and say everything that is wrong at once."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.errors import ConfigurationError
from schemas.findings import Finding, Location, address, field_at, sentence

Model = TypeVar("Model", bound=BaseModel)

LARGEST_BYTES = 16_777_216


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
        could_mend = [_mend(model, mended, one["loc"]) for one in reversed(errors)]
        if not all(could_mend):
            break
    return None, list(findings.values())


def duplicates(names: Iterable[str], where: str, file: str) -> Iterator[Finding]:
    """Yield an error for every name that occurs twice."""
    for name, count in Counter(names).items():
        if count > 1:
            yield Finding("error", "duplicate", file, f"{where}[{name}]", f"the id {name!r} is given {count} times")


def _code(kind: str) -> str:
    return {"extra_forbidden": "unknown-key", "missing": "missing-key"}.get(kind, "wrong-value")


def _mend(model: type[BaseModel], raw: dict[str, Any], location: Location) -> bool:
    """Take a wrong value out of `raw`; a required number becomes 1; a wrong rule goes whole."""
    if location[0] == "rules" and len(location) > 1:
        return _remove(raw, location[:2])
    _, field = field_at(model, location)
    holder, key = _holder(raw, location)
    if not isinstance(holder, dict) or not isinstance(key, str):
        return False
    if field is None:
        return _remove(raw, location) if key in holder else False
    if not field.is_required():
        holder.pop(key, None)
        return True
    if field.annotation in (int, float):
        holder[key] = 1
        return True
    return False


def _holder(raw: Any, location: Location) -> tuple[Any, str | int]:
    for part in location[:-1]:
        if isinstance(part, int) and isinstance(raw, dict):
            continue
        try:
            raw = raw[part]
        except (LookupError, TypeError):
            return None, location[-1]
    return raw, location[-1]


def _remove(raw: Any, location: Location) -> bool:
    holder, key = _holder(raw, location)
    try:
        del holder[key]
    except (LookupError, TypeError):
        # Another error of the same item has taken it out already.
        return True
    return True
