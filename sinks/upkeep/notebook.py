"""What upkeep remembers of the files of a lake from round to round: when each was seen unused, and when it was hashed.

It is a convenience that may be lost: without it vacuum waits anew and the scrubber begins anew. So it is one SQLite
file, and one that cannot be read is put aside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sinks.lake.durable import make_folder

FOLDER = ".upkeep"
"""The folder in a lake where upkeep keeps what is its own."""
_FILE = "notebook.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS unused (path TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hashed (path TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
"""


class Notebook:
    """Hold times by path of file, relative to the lake's folder; opened by `open_notebook`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def unused_since(self) -> dict[str, datetime]:
        """Return the files that no table had, and when that was first seen."""
        return self._times("SELECT path, since FROM unused")

    def note_unused(self, paths: Iterable[str], now: datetime) -> None:
        """Note files that no table has; what was noted before keeps its time."""
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO unused VALUES (?, ?)", _stamped(paths, now))

    def forget_unused(self, paths: Iterable[str]) -> None:
        """Forget files that are gone, or in a table."""
        with self._connection:
            self._connection.executemany("DELETE FROM unused WHERE path = ?", ((path,) for path in paths))

    def hashed_at(self) -> dict[str, datetime]:
        """Return when each file was last found sound."""
        return self._times("SELECT path, at FROM hashed")

    def note_hashed(self, paths: Iterable[str], now: datetime) -> None:
        """Note files that were found sound."""
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO hashed VALUES (?, ?)", _stamped(paths, now))

    def forget_hashed(self, paths: Iterable[str]) -> None:
        """Forget files that are no longer in a table."""
        with self._connection:
            self._connection.executemany("DELETE FROM hashed WHERE path = ?", ((path,) for path in paths))

    def _times(self, question: str) -> dict[str, datetime]:
        return {path: datetime.fromtimestamp(at, UTC) for path, at in self._connection.execute(question)}


@contextmanager
def open_notebook(lake: Path) -> Iterator[Notebook]:
    """Open the notebook of a lake, a new one where there is none that can be read."""
    make_folder(lake / FOLDER)
    connection = _connect(lake / FOLDER / _FILE)
    try:
        yield Notebook(connection)
    finally:
        connection.close()


def read_hashed(lake: Path) -> dict[str, datetime]:
    """Return what `Notebook.hashed_at` would, and change nothing; nothing is known where it cannot be read."""
    try:
        with closing(sqlite3.connect(f"{(lake / FOLDER / _FILE).absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return Notebook(connection).hashed_at()
    except sqlite3.DatabaseError:
        return {}


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return _prepared(path)
    except sqlite3.DatabaseError:
        path.replace(path.with_suffix(".unreadable"))
        return _prepared(path)


def _prepared(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _stamped(paths: Iterable[str], now: datetime) -> Collection[tuple[str, float]]:
    return [(path, now.timestamp()) for path in paths]
