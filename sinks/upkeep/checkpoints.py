"""The duty that keeps logs short: a checkpoint that was read again, and no entries that only the past needs.

Entries go below a checkpoint that is older than KEPT and still says what the entries said; so a version of the last
seven days can be asked for, and a table of any age opens at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import UnavailableError, WattlineError
from sinks.lake.durable import sync_folder
from sinks.lake.ledger import LOG, Ledger
from sinks.lake.tables import TABLES
from sinks.upkeep.small import open_ledger

KEPT = timedelta(days=7)
_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")


class WrongCheckpointError(WattlineError):
    """Report a checkpoint that is not what the entries say: nothing was cleaned, they are all there."""


class State(NamedTuple):
    """Hold what a table is at a version: the size of each live file by its path, and the application transactions."""

    files: dict[str, int]
    transactions: dict[str, int]


def checkpoint_duty(lake: Path, now: datetime) -> Iterator[str]:
    """Write a checkpoint of every table that has gone on since its last one, and clean its log behind an old one."""
    for table in TABLES:
        try:
            if (ledger := open_ledger(table, lake)) is not None:
                yield from _kept_short(ledger, now)
        except (WrongCheckpointError, UnavailableError) as error:  # the other tables have their turn
            yield str(error)


def _kept_short(ledger: Ledger, now: datetime) -> Iterator[str]:
    if ledger.version > max(checkpoints(ledger.folder), default=0):
        ledger.checkpoint()
        require_true(ledger.folder, ledger.version)
        yield f"{ledger.table.name}: checkpoint at version {ledger.version}"
    if removed := clean(ledger.folder, now):
        yield f"{ledger.table.name}: {removed} log entries older than {KEPT.days} days are gone"


def clean(folder: Path, now: datetime, kept: timedelta = KEPT) -> int:
    """Remove the entries and checkpoints before the newest checkpoint older than `kept`; return how many entries.

    The checkpoint is held against the entries first. The oldest go first, so that a stop leaves no hole.
    """
    log, until = folder / LOG, (now - kept).timestamp()
    old = sorted(each for each in checkpoints(folder) if _checkpoint(log, each).stat().st_mtime < until)
    entries = [path for version, path in _entries(log) if old and version < old[-1]]
    if not entries:
        return 0
    require_true(folder, old[-1])
    for path in [*entries, *(_checkpoint(log, each) for each in old[:-1])]:
        path.unlink()
    sync_folder(log)
    return len(entries)


def checkpoints(folder: Path) -> list[int]:
    """Return the versions of which there is a checkpoint."""
    return sorted(int(match[1]) for path in (folder / LOG).iterdir() if (match := _CHECKPOINT.fullmatch(path.name)))


def require_true(folder: Path, version: int) -> None:
    """Raise WrongCheckpointError where a checkpoint is not what the entries since the one before it come to."""
    log = folder / LOG
    before = max((each for each in checkpoints(folder) if each < version), default=-1)
    state = _read(_checkpoint(log, before)) if before >= 0 else State({}, {})
    for number in range(before + 1, version + 1):
        _apply(state, log / f"{number:020d}.json")
    path = _checkpoint(log, version)
    found = _read(path)
    if found != state:
        raise WrongCheckpointError(
            f"{path} has {len(found.files)} files and {len(found.transactions)} positions where the entries come to "
            f"{len(state.files)} and {len(state.transactions)}, or others of them. The log keeps all its entries; "
            "take the checkpoint away, and another one is written."
        )


def _read(path: Path) -> State:
    try:
        rows = pq.read_table(path, columns=["add", "txn"], page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise WrongCheckpointError(f"{path} cannot be read: {error}. The log keeps all its entries.") from error
    return State(
        {each["path"]: each["size"] for each in rows.column("add").to_pylist() if each},
        {each["appId"]: each["version"] for each in rows.column("txn").to_pylist() if each},
    )


def _apply(state: State, entry: Path) -> None:
    try:
        actions = [json.loads(line) for line in entry.read_bytes().splitlines() if line]
    except (OSError, ValueError) as error:
        raise WrongCheckpointError(f"{entry} cannot be read: {error}. The log keeps all its entries.") from error
    for action in actions:
        if add := action.get("add"):
            state.files[add["path"]] = add["size"]
        elif remove := action.get("remove"):
            state.files.pop(remove["path"], None)
        elif moved := action.get("txn"):
            state.transactions[moved["appId"]] = moved["version"]


def _entries(log: Path) -> list[tuple[int, Path]]:
    return sorted((int(match[1]), path) for path in log.iterdir() if (match := _ENTRY.fullmatch(path.name)))


def _checkpoint(log: Path, version: int) -> Path:
    return log / f"{version:020d}.checkpoint.parquet"
