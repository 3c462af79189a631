"""A snapshot as a file that a query's cage only opens: its dimensions and views in a DuckDB database, made outside."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from sinks.lake.tables import TABLES
from sinks.sql.connection import definition_of
from sinks.sql.damage import refusing_damage
from sinks.sql.definition import SETTINGS, define
from sinks.sql.snapshot import Span
from sinks.upkeep.damage import FOLDER, missing_note

FRESH_SECS = 2.0
"""For how long a catalog is asked again without a look at the lake."""
GOOD_SECS = 60.0
"""For how long one is asked again where nothing was committed since; longer unread, it is removed."""


Stamp = tuple[int, ...]
"""When the log of each table was last added to, and what upkeep said of damage; 0 = not there."""


def stamp_of(lake: Path) -> Stamp:
    """Return what changes with every commit; a second one within a tick of the clock may be missed, for GOOD_SECS."""
    looked_at = (*(table.folder(lake) / "_delta_log" for table in TABLES), lake / FOLDER)
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in looked_at)


class Catalog:
    """Hold one file, what whoever asks it must know, and how many queries read it."""

    def __init__(self, path: Path, made: float, stamp: Stamp, note: str | None) -> None:
        self.path = path
        self.stamp = stamp
        self.note = note
        self.taken = datetime.now(UTC)
        self.made = made
        self.readers = 0


def write_catalog(lake: Path, span: Span, path: Path) -> str | None:
    """Write the newest snapshot of `lake` into a new database; return a sentence about rows that it lacks.

    Raises ConfigurationError where `lake` is not a folder of a lake, DataLossError where a file is cut or missing.
    """
    with refusing_damage(lake):
        definition = definition_of(lake, span)
        with duckdb.connect(str(path), config=dict(SETTINGS)) as connection:
            define(connection, definition)
    path.chmod(0o644)
    return missing_note(lake)


class Catalogs:
    """Make catalogs when they are asked for, share what is fresh, remove what is old and read by nobody."""

    def __init__(self, lake: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._lake = lake
        self._clock = clock
        self._folder = tempfile.TemporaryDirectory(prefix="wattline-catalog-")
        Path(self._folder.name).chmod(0o711)
        self._newest: dict[Span, Catalog] = {}
        self._old: list[Catalog] = []
        self._number = 0
        self._making = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def current(self, span: Span) -> AsyncIterator[Catalog]:
        """Have a catalog of a snapshot at most FRESH_SECS old for the block."""
        catalog = await self._fresh(span)
        catalog.readers += 1
        try:
            yield catalog
        finally:
            catalog.readers -= 1
            self._sweep()

    @contextlib.asynccontextmanager
    async def empty(self) -> AsyncIterator[Path]:
        """Have a catalog of nothing for the block, in a folder of its own, for a probe."""
        with tempfile.TemporaryDirectory(dir=self._folder.name) as folder:
            path = Path(folder) / "empty.duckdb"
            duckdb.connect(str(path), config=dict(SETTINGS)).close()
            yield path

    def close(self) -> None:
        """Remove them all."""
        self._folder.cleanup()

    async def _fresh(self, span: Span) -> Catalog:
        async with self._making:
            known = self._newest.get(span)
            if known is not None and await asyncio.to_thread(self._is_good, known):
                return known
            made, stamp = self._clock(), await asyncio.to_thread(stamp_of, self._lake)
            self._number += 1
            path = Path(self._folder.name) / f"{self._number}.duckdb"
            note = await asyncio.to_thread(write_catalog, self._lake, span, path)
            if known is not None:
                self._old.append(known)
            self._newest[span] = Catalog(path, made, stamp, note)
            return self._newest[span]

    def _is_good(self, catalog: Catalog) -> bool:
        age = self._clock() - catalog.made
        return age < FRESH_SECS or (age < GOOD_SECS and stamp_of(self._lake) == catalog.stamp)

    def _sweep(self) -> None:
        """Remove what nobody reads: older ones at once, the newest of a span when it is no longer good."""
        stale = [span for span, each in self._newest.items() if self._clock() - each.made >= GOOD_SECS]
        self._old += [self._newest.pop(span) for span in stale]
        for catalog in [each for each in self._old if not each.readers]:
            catalog.path.unlink(missing_ok=True)
            self._old.remove(catalog)
