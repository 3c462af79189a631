"""Files that no table has any more, or never had: found, waited for, removed.

A flush and a compaction name their files before they commit them, a query reads files that a commit has removed
meanwhile, and `--at` asks for versions of yesterday. All three are one rule: a file goes when it has been seen to be in
no newest version for as long as `keep_removed_hours`. A kill, a lost notebook, a stopped process only make it wait
longer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from schemas.errors import ConfigurationError, DataLossError
from sinks.lake.log_check import log_damage
from sinks.lake.parquet import TEMPORARY
from sinks.lake.tables import TABLES, Table
from sinks.sql.snapshot import open_table
from sinks.upkeep.notebook import Notebook, open_notebook
from sinks.upkeep.settings import UpkeepSettings, read_settings

log = logging.getLogger(__name__)

EMPTY_FOLDER_SECS = 3_600.0
"""So old an empty folder of an hour must be before it goes: a writer makes one right before it puts a file there."""


class Vacuumed(NamedTuple):
    """Say what is gone (or would be), what is unused and waits, and what is wrong with tables of which nothing goes."""

    removed: tuple[str, ...]
    removed_bytes: int
    waiting: int
    waiting_bytes: int
    folders: int
    damaged: tuple[str, ...]


def vacuum(lake: Path, now: datetime, settings: UpkeepSettings, *, dry_run: bool = False) -> Vacuumed:
    """Remove what no table of `lake` has had for `keep_removed_hours`; with `dry_run` only say it.

    The caller holds the lake's upkeep alone.
    """
    unused: dict[str, int] = {}
    damaged = []
    for table in TABLES:
        try:
            unused |= dict(_unused(lake, table))
        except (DataLossError, ConfigurationError) as error:  # of the others it is known what is live
            damaged.append(str(error))
    with open_notebook(lake) as notebook:
        since = _since(notebook, unused, now)
        due = [path for path, seen in since.items() if now - seen >= timedelta(hours=settings.keep_removed_hours)]
        if not dry_run:
            for path in due:
                (lake / path).unlink(missing_ok=True)
            notebook.forget_unused(due)
    gone = sum(unused[path] for path in due)
    folders = 0 if dry_run else _remove_empty_folders(lake, now)
    return Vacuumed(
        tuple(due), gone, len(unused) - len(due), sum(unused.values()) - gone, folders, damaged=tuple(damaged)
    )


def vacuum_duty(lake: Path, now: datetime) -> Iterator[str]:
    """Do what is due, and say what is gone."""
    done = vacuum(lake, now, read_settings(lake))
    for sentence in done.damaged:
        log.error("lake: %s", sentence)
    if done.removed:
        yield (
            f"{len(done.removed)} files that no table has are removed, {done.removed_bytes / 1e6:.1f} MB; "
            f"{done.waiting} wait, {done.waiting_bytes / 1e6:.1f} MB"
        )


def _since(notebook: Notebook, unused: dict[str, int], now: datetime) -> dict[str, datetime]:
    """Bring the notebook up to date, and return since when each unused file is known to be."""
    notebook.forget_unused([path for path in notebook.unused_since() if path not in unused])
    notebook.note_unused(unused, now)
    return notebook.unused_since()


def _unused(lake: Path, table: Table) -> Iterator[tuple[str, int]]:
    """Yield the files on disk that the newest version of a table does not have, with their bytes.

    Raises DataLossError where its log is damaged: what is live is not known then.

    The disk is looked at first: what is committed after that look is live by the second.
    """
    folder = table.folder(lake)
    found = [*folder.glob("hour=*/*.parquet"), *folder.glob(f"{TEMPORARY}/*.parquet")]
    if not found:
        return
    if damage := log_damage(folder):
        raise DataLossError(
            f"{folder}: {damage}, so which files are in use is not known and none is removed. Stop the lake writer and "
            "start it again: it sets the damaged end of the log aside and fills it from Kafka."
        )
    live = live_paths(lake, table)
    for path in found:
        if live is not None and str(path.relative_to(folder)) not in live:
            try:
                yield str(path.relative_to(lake)), path.stat().st_size
            except FileNotFoundError:
                continue  # a writer that failed took its own away


def live_paths(lake: Path, table: Table) -> set[str] | None:
    """Return the paths of the files of a table's newest version; None where there is no table."""
    delta = open_table(lake, table)
    if delta is None:
        return None
    actions = pl.DataFrame(delta.get_add_actions(flatten=True))
    return set(actions["path"].to_list()) if actions.height else set()


def _remove_empty_folders(lake: Path, now: datetime) -> int:
    """Remove folders of hours in which nothing is left; a writer that needs one right now tries again and makes it."""
    removed = 0
    for table in TABLES:
        for folder in table.folder(lake).glob("hour=*"):
            if now.timestamp() - folder.stat().st_mtime >= EMPTY_FOLDER_SECS and not any(folder.iterdir()):
                folder.rmdir()
                removed += 1
    return removed
