"""Targets: which exporter speaks for which node, from the command line or from one TOML file."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path as FilePath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas import toml
from schemas.errors import ConfigurationError
from schemas.findings import refuse
from schemas.paths import Path, is_path
from schemas.registry import Registry
from schemas.subject import SubjectKind

ADDRESS_PATTERN = r"^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"


class Target(BaseModel):
    """Name one exporter: its address, the path of the node that it speaks for, and where its metrics are."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    address: Annotated[str, Field(pattern=ADDRESS_PATTERN)]
    node: Path
    metrics_path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/metrics"

    @property
    def url(self) -> str:
        """Return where to ask."""
        return f"http://{self.address}{self.metrics_path}"

    def __str__(self) -> str:
        return f"{self.node} at {self.address}"


class Targets(BaseModel):
    """Hold the whole file: `[[targets]]` tables."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    targets: Annotated[tuple[Target, ...], Field(strict=False, min_length=1)]


def load(path: FilePath) -> tuple[Target, ...]:
    """Read targets from a TOML file; raise ConfigurationError with all errors at once."""
    targets, findings = toml.validate(Targets, toml.read(path), str(path))
    refuse(findings)
    if targets is None:
        raise ConfigurationError(f"{path}: holds no [[targets]] that can be read")
    return targets.targets


def parse(text: str) -> Target:
    """Read `HOST:PORT=NODE_PATH`; raise ValueError with what is allowed."""
    address, equals, node = text.partition("=")
    if not equals or not is_path(node) or not re.fullmatch(ADDRESS_PATTERN, address):
        raise ValueError(f"{text!r} is not HOST:PORT=NODE_PATH, such as 10.0.0.7:9400=ruh/h1/r04/k17/n03")
    return Target(address=address, node=node)


def check(targets: Sequence[Target], registry: Registry) -> None:
    """Raise ConfigurationError with every target whose node nobody knows or that shares its node or address."""
    known = registry.ids(SubjectKind.NODE)
    wrong = [_unknown(target, known) for target in targets if target.node not in known]
    for what in ("node", "address"):
        counts = Counter(getattr(target, what) for target in targets)
        wrong += [f"{what} {name} is given {count} times" for name, count in counts.items() if count > 1]
    if wrong:
        raise ConfigurationError("\n".join(["scrape: the targets do not fit the facility", *wrong]))


def _unknown(target: Target, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(target.node, list(known), n=1)
    hint = f", did you mean {nearest[0]}" if nearest else ""
    return f"{target}: no such node in the facility in force{hint}"
