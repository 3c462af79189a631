"""A lake from a backup: every file held against its hash, and no writer before all of it is there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from deltalake import DeltaTable

from schemas.errors import ConfigurationError, DataLossError
from sinks.lake.durable import make_folder, sync_file, sync_folder
from sinks.lake.ledger import LOG
from sinks.lake.locks import lake_lock, upkeep_lock
from sinks.lake.start import RESTORING
from sinks.lake.tables import TABLES
from sinks.upkeep.backup import Point, point_folder, points, pooled
from sinks.upkeep.checksum import DamagedFileError, copy_checked
from sinks.upkeep.settings import FILE as SETTINGS


class Restored(NamedTuple):
    """Count what was brought, and name what could not be."""

    point: Point
    files: int
    bytes: int
    damaged: tuple[str, ...]


def restore(source: Path, lake: Path, *, name: str | None = None, despite_damage: bool = False) -> Restored:
    """Bring a point of the backup in `source` (the newest, or `name`) into the empty folder `lake`.

    A lake writer that starts meanwhile waits; after an interruption it refuses until restore was run again, which goes
    on where it was. Then the writer fetches from Kafka what came after the point.

    Raises ConfigurationError where there is a lake already or no such point, DamagedFileError where the backup is
    damaged; with `despite_damage` what is damaged is left out and named.
    """
    point = _chosen(source, name)
    writers, upkeep = lake_lock(lake), upkeep_lock(lake)
    try:
        if not writers.try_alone():
            raise ConfigurationError(f"{lake}: a lake writer is alive; stop it before anything is restored here")
        if not upkeep.try_alone():
            raise ConfigurationError(f"{lake}: a duty of upkeep is under way; stop upkeep before anything is restored")
        _begin(lake, source, point)
        files, size, damaged = _bring_files(source, lake, point, despite_damage=despite_damage)
        for table in point.tables:
            _bring_log(point_folder(source, point) / table, lake / table)
        _require_versions(lake, point)
        if (point_folder(source, point) / SETTINGS).exists():
            sync_file(shutil.copyfile(point_folder(source, point) / SETTINGS, lake / SETTINGS))
        (lake / RESTORING).unlink()
        sync_folder(lake)
        return Restored(point, files, size, tuple(damaged))
    finally:
        writers.release()
        upkeep.release()


def _chosen(source: Path, name: str | None) -> Point:
    found = {point.name: point for point in points(source)}
    if not found:
        raise ConfigurationError(f"{source}: no complete backup is here; `wattline lake backup DEST` makes one")
    if name is not None and name not in found:
        raise ConfigurationError(f"{source}: no point {name!r}; there are {', '.join(found)}")
    return found[name or max(found)]


def _begin(lake: Path, source: Path, point: Point) -> None:
    """Mark the folder as not yet restored; refuse one that holds a lake, or half of another restore."""
    marker, words = lake / RESTORING, f"{point.name} of {source}"
    if marker.exists():
        if (begun := marker.read_text()) != words:
            raise ConfigurationError(
                f"{lake}: point {begun} is half restored here. Restore that one, or empty the folder first"
            )
        return
    there = [table.name for table in TABLES if table.folder(lake).exists()]
    if there:
        raise ConfigurationError(
            f"{lake}: there is a lake already ({', '.join(there)}), and nothing is ever restored over one. Move the "
            "folder away, or name an empty one"
        )
    marker.write_text(words)
    sync_file(marker)
    sync_folder(lake)


def _bring_files(source: Path, lake: Path, point: Point, *, despite_damage: bool) -> tuple[int, int, list[str]]:
    files, total, damaged = 0, 0, []
    for table, part in point.tables.items():
        for path, size in part.files.items():
            target = lake / table / path
            if target.exists():
                continue  # brought by a run that was interrupted: its name came after its bytes
            try:
                copy_checked(pooled(source, table, path), target)
            except (DamagedFileError, FileNotFoundError) as error:
                if not despite_damage:
                    raise DamagedFileError(
                        f"{error}. Restore another point (--point), or all that is sound with --despite-damage"
                    ) from error
                damaged.append(f"{table}/{path}")
            else:
                files, total = files + 1, total + size
    return files, total, damaged


def _bring_log(source: Path, folder: Path) -> None:
    target = folder / LOG
    make_folder(target)
    for path in sorted((source / LOG).iterdir()):
        sync_file(shutil.copyfile(path, target / path.name))
    sync_folder(target)


def _require_versions(lake: Path, point: Point) -> None:
    for table, part in point.tables.items():
        found = DeltaTable(str(lake / table)).version()
        if found != part.version:
            raise DataLossError(f"{lake / table}: opens at version {found}, the backup was of {part.version}")
