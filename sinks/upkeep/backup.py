"""Backups of a lake, taken while writers go on: many moments, each file of the lake once.

    DEST/files/<table>/hour=…/<file>     data, shared by all points, its hash in its name
    DEST/points/<moment>/<table>/_delta_log/…  the log as it was at that moment
    DEST/points/<moment>/lake.toml       how long it is kept, where the lake has one
    DEST/points/<moment>/point.json      what belongs to it; written last, so what has it is whole

A file's name tells its bytes, so a second backup copies only what is new, and one that was interrupted goes on
where it was. Nothing of the lake is locked: a file that vacuum takes away meanwhile means a newer moment.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl

from schemas.errors import ConfigurationError, DataLossError, UnavailableError
from sinks.lake.durable import make_folder, move, sync_file, sync_folder
from sinks.lake.locks import FolderLock
from sinks.lake.start import RESTORING
from sinks.upkeep.checksum import DamagedFileError, copy_checked, require_sound
from sinks.upkeep.log_copy import copy_log, versions_at_one_moment
from sinks.upkeep.settings import FILE as SETTINGS

FILES = "files"
POINTS = "points"
MANIFEST = "point.json"
KEEP_POINTS = 7
_ATTEMPTS = 5


class TablePoint(msgspec.Struct, frozen=True):
    """Say what one table was: its version, its rows, and the bytes of each live file by path."""

    version: int
    rows: int
    files: dict[str, int]


class Point(msgspec.Struct, frozen=True):
    """Say what a lake was at one moment."""

    name: str
    taken: datetime
    lake: str
    tables: dict[str, TablePoint]


class BackedUp(NamedTuple):
    """Count what one backup did."""

    point: Point
    copied_files: int
    copied_bytes: int
    removed_points: int
    removed_files: int


def back_up(
    lake: Path, destination: Path, now: datetime, *, keep: int = KEEP_POINTS, link: bool = False, check: bool = False
) -> BackedUp:
    """Add a point of this moment to the backups in `destination`, and remove all but the newest `keep`.

    `link` makes hard links in place of copies: on the same disk only, and no help against the disk. `check` hashes
    every file that is there already, of every point.

    Raises DataLossError (and DamagedFileError) where the lake or the backup is damaged, UnavailableError where
    another backup into it is on its way or files vanish faster than they are copied.
    """
    if (lake / RESTORING).exists():
        raise ConfigurationError(f"{lake}: a restore was not finished here; run `wattline lake restore` again first")
    with _alone(destination):
        for folder in (destination / POINTS).iterdir():
            if folder.name.startswith(".") or not (folder / MANIFEST).exists():
                shutil.rmtree(folder)  # of a backup or a removal that was interrupted
        moment = _after_the_newest(points(destination), now)
        point, copied = _try_again_where_files_vanish(lake, destination, moment, link=link, check=check)
        if check:
            _require_sound_points(destination)
        removed = _prune(destination, keep)
        return BackedUp(point, len(copied), sum(copied), *removed)


def points(destination: Path) -> list[Point]:
    """Return the complete points of a backup, oldest first."""
    manifests = sorted((destination / POINTS).glob(f"*/{MANIFEST}"))
    return [msgspec.json.decode(path.read_bytes(), type=Point) for path in manifests if path.parent.name[0] != "."]


def pooled(destination: Path, table: str, path: str) -> Path:
    """Return where a file of a table lies in a backup."""
    return destination / FILES / table / path


def point_folder(destination: Path, point: Point) -> Path:
    """Return where the logs of a point lie."""
    return destination / POINTS / point.name


def _after_the_newest(before: Sequence[Point], now: datetime) -> datetime:
    """Return the moment of a new point: two of one second, or a clock that was set back, must not look like one.

    Points are in the order of their names, and the last ones are kept.
    """
    now = now.replace(microsecond=0)
    return max([now, *(point.taken.replace(microsecond=0) + timedelta(seconds=1) for point in before[-1:])])


def _try_again_where_files_vanish(
    lake: Path, destination: Path, now: datetime, *, link: bool, check: bool
) -> tuple[Point, list[int]]:
    copied: list[int] = []
    for _ in range(_ATTEMPTS):
        staging = destination / POINTS / f".{now:%Y-%m-%dT%H%M%SZ}"
        try:
            point = _stage(lake, staging, now)
            for table, part in point.tables.items():
                for path, size in part.files.items():
                    target = pooled(destination, table, path)
                    if not _is_there(target, size, check=check):
                        _bring(lake / table / path, target, link=link)
                        copied.append(size)
            return _finish(staging, point), copied
        except FileNotFoundError as error:
            vanished = error
            shutil.rmtree(staging)
    raise UnavailableError(
        f"{lake}: files were removed while they were copied, {_ATTEMPTS} times, the last one {vanished.filename}. "
        f"What was copied stays in {destination}: start the backup again, it goes on from there."
    )


def _stage(lake: Path, staging: Path, now: datetime) -> Point:
    """Copy the logs of one moment, and read from the copies what belongs to it."""
    tables: dict[str, TablePoint] = {}
    for table, version in versions_at_one_moment(lake).items():
        actions = pl.DataFrame(copy_log(lake / table, staging / table, version).get_add_actions(flatten=True))
        files = dict(zip(actions["path"], actions["size_bytes"], strict=True)) if actions.height else {}
        rows = int(actions["num_records"].sum()) if actions.height else 0
        tables[table] = TablePoint(version, rows, files)
    if (lake / SETTINGS).exists():
        sync_file(shutil.copyfile(lake / SETTINGS, staging / SETTINGS))
    return Point(staging.name.removeprefix("."), now, str(lake), tables)


def _is_there(target: Path, size: int, *, check: bool) -> bool:
    """Tell whether a file is in the backup already; one that is not as it was is brought anew."""
    if not target.exists() or target.stat().st_size != size:
        return False
    try:
        if check:
            require_sound(target)
    except DamagedFileError:
        return False
    return True


def _bring(source: Path, target: Path, *, link: bool) -> None:
    try:
        if not link:
            copy_checked(source, target)
            return
        require_sound(source)
    except DamagedFileError as error:
        raise DamagedFileError(
            f"{error}. It is not backed up, and the points that are there stay as they are. Let upkeep set it aside "
            "and fill it from Kafka (`wattline lake scrub`), then back up again."
        ) from error
    make_folder(target.parent)
    target.unlink(missing_ok=True)
    os.link(source, target)
    sync_folder(target.parent)


def _finish(staging: Path, point: Point) -> Point:
    manifest = staging / MANIFEST
    manifest.write_bytes(msgspec.json.encode(point))
    sync_file(manifest)
    for folder in (*(staging / table for table in point.tables), staging):
        sync_folder(folder)
    move(staging, staging.parent / point.name)
    return point


def _require_sound_points(destination: Path) -> None:
    said = []
    for path in sorted(_wanted(destination)):
        try:
            require_sound(path)
        except (DamagedFileError, FileNotFoundError) as error:
            said.append(str(error))
    if said:
        raise DataLossError(
            f"{destination}: {len(said)} files of older points are damaged and no longer in the lake; those points can "
            f"be restored without them (--despite-damage). {'; '.join(said)}"
        )


def _wanted(destination: Path) -> set[Path]:
    return {
        pooled(destination, table, path)
        for point in points(destination)
        for table, part in point.tables.items()
        for path in part.files
    }


def _prune(destination: Path, keep: int) -> tuple[int, int]:
    """Remove all but the newest points, then the files that none has."""
    old = points(destination)[:-keep]
    for point in old:
        (point_folder(destination, point) / MANIFEST).unlink()
        shutil.rmtree(point_folder(destination, point))
    wanted = _wanted(destination)
    unwanted = [path for path in (destination / FILES).rglob("*") if path.is_file() and path not in wanted]
    for path in unwanted:
        path.unlink()
    return len(old), len(unwanted)


@contextmanager
def _alone(destination: Path) -> Iterator[None]:
    lock = FolderLock(destination / ".backup.lock")
    try:
        if not lock.try_alone():
            raise UnavailableError(f"{destination}: another backup into it is on its way; wait until it is done")
        make_folder(destination / POINTS)
        yield
    finally:
        lock.release()
