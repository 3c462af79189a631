"""The log of one table as it was at one version: copied, and proven to open to that version."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from schemas.errors import DataLossError
from sinks.lake.durable import make_folder, sync_file, sync_folder
from sinks.lake.ledger import LOG
from sinks.lake.log_check import entry_damage
from sinks.lake.tables import TABLES

_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")
_LOOKS = 1_000


def versions_at_one_moment(lake: Path) -> dict[str, int]:
    """Return the newest version of every table, all of them in force at one moment while writers go on.

    Two looks that see the same were both true in between. Raises DataLossError where there is no table.
    """
    seen = _versions(lake)
    for _ in range(_LOOKS):
        again = _versions(lake)
        if again == seen:
            break
        seen = again
    if not seen:
        raise DataLossError(f"{lake}: no table of a lake is here; name its folder with --lake or WATTLINE_LAKE")
    return seen


def copy_log(folder: Path, target: Path, version: int) -> DeltaTable:
    """Copy what the table in `folder` needs to be opened at `version`, durably, and return it opened from there.

    That is the newest checkpoint that can be read, and the entries after it. Raises DataLossError where the log is
    damaged, FileNotFoundError where it was cleaned meanwhile.
    """
    log, into = folder / LOG, target / LOG
    make_folder(into)
    checkpoint = _copy_checkpoint(log, into, version)
    for number in range(max(checkpoint, 0), version + 1):
        _copy_entry(log / f"{number:020d}.json", into, is_needed=number > checkpoint)
    sync_folder(into)
    try:
        delta = DeltaTable(str(target))
    except DeltaError as error:
        raise DataLossError(f"{folder}: version {version} cannot be opened: {error}") from error
    if delta.version() != version:
        raise DataLossError(f"{folder}: the log ends at version {delta.version()} where {version} was seen")
    return delta


def _versions(lake: Path) -> dict[str, int]:
    found = {table.name: _newest(table.folder(lake) / LOG) for table in TABLES}
    return {name: version for name, version in found.items() if version >= 0}


def _newest(log: Path) -> int:
    return max((int(match[1]) for match in _matches(log, _ENTRY)), default=-1)


def _matches(log: Path, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    names = [path.name for path in log.iterdir()] if log.is_dir() else []
    return [match for name in names if (match := pattern.fullmatch(name))]


def _copy_checkpoint(log: Path, into: Path, version: int) -> int:
    """Copy the newest checkpoint at or before `version` that can be read whole; return its version or -1."""
    found = sorted((int(match[1]), match[0]) for match in _matches(log, _CHECKPOINT))
    for number, name in reversed(found):
        if number <= version and _is_readable(shutil.copyfile(log / name, into / name)):
            sync_file(into / name)
            return number
        (into / name).unlink(missing_ok=True)
    return -1


def _is_readable(checkpoint: Path) -> bool:
    try:
        pq.read_table(checkpoint, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return False
    return True


def _copy_entry(entry: Path, into: Path, *, is_needed: bool) -> None:
    if not is_needed and not entry.exists():
        return
    copied = shutil.copyfile(entry, into / entry.name)
    if damage := entry_damage(copied):
        raise DataLossError(
            f"{entry.parent}: {damage}. Stop the lake writer and start it again: it sets the damaged end of the log "
            "aside and fills it from Kafka. Then back up."
        )
    sync_file(copied)
