"""What an operator decides about a lake, in `lake.toml` in its folder: read anew at each round, so nothing restarts.

The file may be missing; every key may. It lies in the lake because what it says is true of that lake whoever runs
upkeep.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from schemas.errors import ConfigurationError
from sinks.lake.tables import BY_NAME

FILE = "lake.toml"
NEEDED_FOR_EVER = "facility"
"""The table that every question reads: without the versions of a facility no old row has a place."""


@dataclass(frozen=True)
class Keeping:
    """Say how many days a table is kept after its rows were appended to Kafka; None = for ever.

    `least_days` is the floor below which the disk budget never shortens it; None = the budget leaves it alone.
    """

    keep_days: float | None = None
    least_days: float | None = None


DEFAULTS: Mapping[str, Keeping] = MappingProxyType(
    {
        "gpu": Keeping(30, 3),
        "power": Keeping(400, 30),
        "windows_1s": Keeping(90, 7),
        "rejected": Keeping(90, 7),
        "histograms": Keeping(1830, 90),
        "windows_1m": Keeping(1830, 400),
        "jobs": Keeping(),
        "progress": Keeping(),
        "alerts": Keeping(),
        "facility": Keeping(),
        "adoptions": Keeping(),
    }
)
"""In the order in which the disk budget shortens them: raw readings of GPUs first, minutes last."""


@dataclass(frozen=True)
class UpkeepSettings:
    """Hold every setting; a name carries its unit.

    `keep_removed_hours`: so long a file that left the table stays on disk, for queries and `--at`; never less than
    `longest_query_secs`. `scrub_days`: within this every file is held against its hash. `disk_budget_bytes`: what the
    lake may take; None = no budget.
    """

    keep_removed_hours: float = 24
    longest_query_secs: float = 3_600
    scrub_days: float = 7
    disk_budget_bytes: int | None = None
    tables: Mapping[str, Keeping] = field(default_factory=lambda: DEFAULTS)


_NUMBERS = ("keep_removed_hours", "longest_query_secs", "scrub_days", "disk_budget_bytes")
_OF_TABLE = ("keep_days", "least_days")


def read_settings(lake: Path) -> UpkeepSettings:
    """Return the settings of a lake; raise ConfigurationError for what `lake.toml` says wrongly."""
    path = lake / FILE
    if not path.exists():
        return UpkeepSettings()
    try:
        return parse_settings(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from error


def parse_settings(given: Mapping[str, Any], where: str = FILE) -> UpkeepSettings:
    """Return what a parsed `lake.toml` says, else defaults; raise ConfigurationError with all faults at once."""
    faults = [*_unknown(given, (*_NUMBERS, "tables"), ""), *_not_positive(given, _NUMBERS, "")]
    tables = given.get("tables", {})
    if not isinstance(tables, dict):
        raise ConfigurationError(f"{where}: tables is {tables!r}, not tables such as [tables.gpu]")
    faults += _unknown(tables, tuple(DEFAULTS), "tables.")
    for name, table in tables.items():
        faults += _faults_of_table(name, table)
    hours, secs = given.get("keep_removed_hours", 24), given.get("longest_query_secs", 3_600)
    if not faults and hours * 3600 < secs:
        faults.append(
            f"keep_removed_hours {hours} is less than longest_query_secs {secs}: a query would lose its files"
        )
    if faults:
        raise ConfigurationError(f"{where}: {'; '.join(faults)}")
    kept = {name: Keeping(**{**vars(default), **tables.get(name, {})}) for name, default in DEFAULTS.items()}
    return UpkeepSettings(**{name: given[name] for name in _NUMBERS if name in given}, tables=kept)


def _faults_of_table(name: str, table: object) -> list[str]:
    if not isinstance(table, dict):
        return [f"tables.{name} is {table!r}, not a table of {' and '.join(_OF_TABLE)}"]
    faults = [*_unknown(table, _OF_TABLE, f"tables.{name}."), *_not_positive(table, _OF_TABLE, f"tables.{name}.")]
    if faults or name not in BY_NAME:
        return faults
    if name == NEEDED_FOR_EVER and table:
        return [f"tables.{name}: it is kept for ever, since every question about old rows reads it"]
    found = Keeping(**{**vars(DEFAULTS[name]), **table})
    if found.keep_days is not None and found.least_days is not None and found.least_days > found.keep_days:
        return [f"tables.{name}: least_days {found.least_days} is more than keep_days {found.keep_days}"]
    return []


def _unknown(given: Mapping[str, Any], known: tuple[str, ...], prefix: str) -> list[str]:
    return [f"{prefix}{key} is no setting{_nearest(key, known)}" for key in given if key not in known]


def _nearest(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f" (did you mean {near[0]}?)" if near else f"; there are {', '.join(known)}"


def _not_positive(given: Mapping[str, Any], names: tuple[str, ...], prefix: str) -> list[str]:
    """Return a sentence for each number that is none, or not above 0."""
    return [
        f"{prefix}{name} is {given[name]!r}; it must be a number above 0"
        for name in names
        if name in given and not _is_positive(given[name])
    ]


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
