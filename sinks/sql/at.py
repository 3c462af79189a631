"""Which version of each table is asked: the newest, one by its number, or that of a moment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import deltalake

from schemas.errors import ConfigurationError
from sinks.lake.ledger import LOG
from sinks.lake.tables import BY_NAME, Table

_VERSION = re.compile(r"(\w+)=(\d{1,18})")


@dataclass(frozen=True)
class At:
    """Say which snapshot is asked: every table as of a moment (UTC without zone), some by their version instead."""

    moment: datetime | None = None
    versions: Mapping[str, int] = field(default_factory=dict)


NEWEST = At()


def read_at(texts: Iterable[str]) -> At:
    """Return what a person wrote: one time (`2026-03-01T12:00`, UTC unless it says otherwise), `gpu=12`, or both.

    Raises ConfigurationError for anything else.
    """
    moment, versions = None, {}
    for text in texts:
        told = _VERSION.fullmatch(text)
        if told and told[1] in BY_NAME:
            versions[told[1]] = int(told[2])
        elif moment is None and not told and not text.isdigit():
            moment = _moment(text)
        else:
            raise _refused(text)
    return At(moment, versions)


def _moment(text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise _refused(text) from error
    return read if read.tzinfo is None else read.astimezone(UTC).replace(tzinfo=None)


def _refused(text: str) -> ConfigurationError:
    return ConfigurationError(
        f"--at {text}: give one time in UTC, as in 2026-03-01T12:00:00, or the version of one table, as in gpu=12 "
        f"(each table counts its own). Tables: {', '.join(BY_NAME)}."
    )


def version_of(folder: Path, table: Table, at: At) -> int | None:
    """Return the version of a table to open, None for its newest; -1 where it had none at that moment.

    Raises ConfigurationError where that version is not in the log any more.
    """
    if table.name in at.versions:
        return _required(folder, at.versions[table.name])
    if at.moment is None:
        return None
    there = _in_log(folder)
    asked = int(at.moment.replace(tzinfo=UTC).timestamp() * 1000)
    low, high = 0, len(there)  # of `there`, all before `low` are not after the moment
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if _committed(folder, there[middle]) <= asked else (low, middle)
    if low:
        return _required(folder, there[low - 1])
    if there and there[0] == 0:
        return -1
    raise ConfigurationError(f"{folder} as of {at.moment}: its log does not reach back so far. {_oldest_words(folder)}")


def newest_version(folder: Path) -> int | None:
    """Return the newest version of a table by its log, without opening it; None where there is none."""
    return max(_in_log(folder), default=None)


def _required(folder: Path, version: int) -> int:
    there, oldest = _in_log(folder), _oldest(folder)
    if there and oldest is not None and oldest <= version <= there[-1]:
        return version
    known = f"the newest is {there[-1]}" if there and version > there[-1] else "its log was cleaned"
    raise ConfigurationError(f"{folder} has no version {version}: {known}. {_oldest_words(folder)}")


def _in_log(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in (folder / LOG).glob("*.json") if path.stem.isdigit())


def _oldest(folder: Path) -> int | None:
    """Return the oldest version that can be opened: the first of the log, or that of its first checkpoint."""
    there = _in_log(folder)
    if not there or there[0] == 0:
        return there[0] if there else None
    return min((int(path.name[:20]) for path in (folder / LOG).glob("*.checkpoint*.parquet")), default=None)


def _oldest_words(folder: Path) -> str:
    oldest = _oldest(folder)
    return "" if oldest is None else f"The oldest is {oldest}, of {_words(_committed(folder, oldest))}."


def _committed(folder: Path, version: int) -> int:
    """Return when a version was committed, in milliseconds: by its own words, which a copied file keeps."""
    entry = folder / LOG / f"{version:020d}.json"
    try:
        with entry.open(encoding="utf-8") as lines:
            for line in lines:
                if '"commitInfo"' in line:
                    return int(json.loads(line)["commitInfo"]["timestamp"])
    except FileNotFoundError:
        entry = next((folder / LOG).glob(f"{version:020d}.checkpoint*.parquet"))
    except (ValueError, KeyError):
        pass
    return int(entry.stat().st_mtime * 1000)


def _words(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def require_files(paths: Iterable[str], lake: Path, version_by_table: Mapping[str, int]) -> None:
    """Raise ConfigurationError where a file of an older version was vacuumed, with the oldest that is whole."""
    gone = next((path for path in paths if not Path(path).exists()), None)
    if gone is None:
        return
    table = Path(gone).relative_to(lake).parts[0]
    folder, version = lake / table, version_by_table[table]
    low, high = version + 1, _in_log(folder)[-1]
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _is_whole(folder, middle) else (middle + 1, high)
    raise ConfigurationError(
        f"{folder} at version {version} cannot be read any more: {gone} was vacuumed. The oldest version that is whole "
        f"is {low}, of {_words(_committed(folder, low))}: --at {table}={low}."
    )


def _is_whole(folder: Path, version: int) -> bool:
    actions = deltalake.DeltaTable(str(folder), version=version).get_add_actions()
    return all((folder / str(path)).exists() for path in actions.column("path").to_pylist())
