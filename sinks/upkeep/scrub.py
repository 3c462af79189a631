"""Every file of a lake is held against the hash in its name within `scrub_days`; one that fails leaves its table.

DuckDB and polars return wrong sums from a file with a flipped bit and say nothing (traps.md 32), so a wrong file must
not stay. New files come first, then those that were hashed longest ago, a few at a time: what was found sound is noted
in the notebook, and a lost notebook means beginning anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from schemas.errors import ConfigurationError
from sinks.lake.tables import TABLES, Table
from sinks.upkeep.aside import damage_of, set_aside
from sinks.upkeep.damage import Damage
from sinks.upkeep.files import live_files
from sinks.upkeep.notebook import Notebook, open_notebook, read_hashed
from sinks.upkeep.refill import Kafka, refill
from sinks.upkeep.settings import UpkeepSettings, read_settings

LEAST_ROUND_BYTES = 67_108_864
log = logging.getLogger(__name__)


class Unhashed(NamedTuple):
    """Name a live file, and say when it was last found sound; None = never."""

    table: Table
    path: str
    bytes: int
    at: datetime | None


class Scrubbed(NamedTuple):
    """Say what one round found, and since when the file has waited that has waited longest."""

    files: int
    bytes: int
    damaged: tuple[Damage, ...]


def scrub_duty(lake: Path, now: datetime, *, kafka: Kafka, round_secs: float) -> Iterator[str]:
    """Hash what is due, set aside what is damaged, and bring back what Kafka has of it."""
    scrub(lake, now, read_settings(lake), round_secs)
    for damage in refill(lake, kafka, now):
        if damage.lost:
            log.error("lake: %s", damage)
        else:
            yield str(damage)


def due(files: list[Unhashed], now: datetime, scrub_days: float, round_secs: float) -> list[Unhashed]:
    """Return the files of one round: never hashed ones, then the oldest, so many that all are done in half of the time.

    Pure. The other half is for rounds that did not happen, and what was hashed in that time is left alone.
    """
    since = now - timedelta(days=scrub_days / 2)
    waiting = [file for file in files if file.at is None or file.at <= since]
    waiting.sort(key=lambda file: (file.at is not None, file.at or now, file.path))
    total = sum(file.bytes for file in files)
    room = max(LEAST_ROUND_BYTES, total * round_secs / (scrub_days / 2 * 86_400))
    chosen: list[Unhashed] = []
    for file in waiting:
        if room <= 0:
            break
        chosen.append(file)
        room -= file.bytes
    return chosen


def scrub(
    lake: Path, now: datetime, settings: UpkeepSettings, round_secs: float, *, everything: bool = False
) -> Scrubbed:
    """Hash what is due in `lake` (or `everything`), and set aside what is damaged. The caller holds upkeep alone."""
    with open_notebook(lake) as notebook:
        files = _unhashed(lake, notebook)
        chosen = files if everything else due(files, now, settings.scrub_days, round_secs)
        sound, damaged = [], []
        for file in chosen:
            if why := damage_of(lake, file.table, file.path):
                damaged.append(set_aside(lake, file.table, file.path, why, now))
            else:
                sound.append(f"{file.table.name}/{file.path}")
        notebook.note_hashed(sound, now)
    return Scrubbed(len(chosen), sum(file.bytes for file in chosen), tuple(damaged))


def oldest_wait(lake: Path, now: datetime) -> timedelta:
    """Return how long ago any live file was last hashed, at most; a new one waits since it was written."""
    files = _live(lake, read_hashed(lake))
    waits = [now - (file.at or _written(lake, file)) for file in files]
    return max(waits, default=timedelta())


def _unhashed(lake: Path, notebook: Notebook) -> list[Unhashed]:
    """Return every live file with when it was last found sound; notes of files that left their table are dropped."""
    hashed = notebook.hashed_at()
    found = _live(lake, hashed)
    live = {f"{file.table.name}/{file.path}" for file in found}
    notebook.forget_hashed([path for path in hashed if path not in live])
    return found


def _live(lake: Path, hashed: Mapping[str, datetime]) -> list[Unhashed]:
    found = []
    for table in TABLES:
        try:
            files = live_files(lake, table)
        except ConfigurationError as error:  # the other tables have their turn
            log.error("lake: %s", error)
            continue
        for path, size in files.select("path", "bytes").iter_rows():
            found.append(Unhashed(table, path, size, hashed.get(f"{table.name}/{path}")))
    return found


def _written(lake: Path, file: Unhashed) -> datetime:
    try:
        return datetime.fromtimestamp((file.table.folder(lake) / file.path).stat().st_mtime, UTC)
    except FileNotFoundError:
        return datetime.min.replace(tzinfo=UTC)
