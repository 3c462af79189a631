"""One hour of one table becomes few sorted files in which each identity stands once.

Everything is checked before it becomes true: what was read must be what is on disk now, value for value and place by
place, but for the rows that do not stand. Else the hour stays as it is. One commit takes the old files out and puts the
new ones in; a stop at any moment before leaves files that nobody names.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import WattlineError
from sinks.lake.hour_file import HourFile
from sinks.lake.ledger import Ledger, LiveFile
from sinks.lake.parquet import ParquetFile, Step, remove_files
from sinks.lake.repeated import REPEATED, repeated_text
from sinks.lake.tables import Table
from sinks.upkeep.merge import Sorted, merged
from sinks.upkeep.read_back import read_back
from sinks.upkeep.row_checksum import Checksum, checksum
from sinks.upkeep.standing import standing

HALF_MADE = "_compacting"
"""The folder in a table where a compaction's files lie until they have names; who holds the upkeep may clear it."""
MOST_FILES = 8
FILE_ROWS = 4_000_000
"""An hour has a file for each so many rows, up to MOST_FILES: a query for a rack opens one."""


class DifferentError(WattlineError):
    """Report that what was written is not what was read; nothing of it is in the table."""


@dataclass(frozen=True)
class Compacted:
    """Say what became of an hour."""

    table: str
    hour: str
    rows: int
    dropped: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int

    def __str__(self) -> str:
        dropped = f", {self.dropped:,} repeated or outdated rows dropped" if self.dropped else ""
        return (
            f"{self.table} {self.hour}: {self.rows:,} rows, {self.files_before} files "
            f"of {self.bytes_before / 1e6:,.1f} MB are {self.files_after} of {self.bytes_after / 1e6:,.1f} MB{dropped}"
        )


def compact_hour(ledger: Ledger, hour: str, step: Step = lambda _: None) -> Compacted:
    """Compact what the ledger's snapshot has of an hour; the caller holds the lake's upkeep alone.

    Raises UnfitFileError where a file cannot be merged, DifferentError where the result is not what was read,
    ReplacedError and CommitRefusedError as Ledger.replace: the hour is as it was then.
    """
    sources = sorted((file for file in ledger.live().values() if file.hour == hour), key=lambda file: file.path)
    half_made = ledger.folder / HALF_MADE
    clear(half_made)
    files: list[ParquetFile] = []
    try:
        dropped = _write(ledger, hour, sources, files, step)
        step("files verified")
        told = Compacted(
            ledger.table.name,
            hour,
            rows=sum(file.rows for file in files),
            dropped=dropped,
            files_before=len(sources),
            files_after=len(files),
            bytes_before=sum(file.size for file in sources),
            bytes_after=sum(file.size for file in files),
        )
        words = {"operation_of": "compaction", "rows": told.rows, "dropped": dropped}
        ledger.replace([file.path for file in sources], files, f"compact/{hour}", words)
    except BaseException:
        live = ledger.live()
        remove_files([file for file in files if file.path not in live], ledger.folder)
        raise
    finally:
        clear(half_made)
        pa.default_memory_pool().release_unused()
    return told


def clear(folder: Path) -> None:
    """Remove a folder of half-made files."""
    shutil.rmtree(folder, ignore_errors=True)


def _write(ledger: Ledger, hour: str, sources: Sequence[LiveFile], files: list[ParquetFile], step: Step) -> int:
    """Write the hour's new files into `files`, compare them with the old ones, return how many rows do not stand."""
    table, read = ledger.table, _Seen()
    half_made = ledger.folder / HALF_MADE
    total = sum(file.rows for file in sources)
    out = _Files(ledger, hour, -(-total // max(1, min(MOST_FILES, total // FILE_ROWS))), files, step)
    try:
        for piece in merged([ledger.folder / file.path for file in sources], table, half_made, read, step):
            out.write(piece)
            del piece  # the next one is made while this name would still hold it
        out.finish()
    finally:
        out.drop()
    written = read_back(ledger.folder, files, table, partial(_require_hour, table))
    if written.plus(out.dropped) != read.total:
        raise DifferentError(
            f"{table.name} {hour} stays as it is: {read.total} was read from {len(sources)} files, and {written} "
            f"stands in the new ones beside {out.dropped} that do not stand. Look at memory and disk."
        )
    return out.dropped.rows


@dataclass
class _Seen:
    """Sum up what is read."""

    total: Checksum = field(default_factory=Checksum)

    def __call__(self, rows: pa.Table) -> None:
        self.total = self.total.plus(checksum(rows))


class _Files:
    """Write pieces of an hour, in order, into files of about so many rows each."""

    def __init__(self, ledger: Ledger, hour: str, file_rows: int, files: list[ParquetFile], step: Step) -> None:
        self._ledger, self._hour = ledger, hour
        self._file_rows, self._files, self._step = file_rows, files, step
        self._open: HourFile | None = None
        self._repeated: list[pa.Table] = []
        self.dropped = Checksum()

    def write(self, piece: Sorted) -> None:
        stands = standing(piece, self._ledger.table)
        rows = piece.rows
        if self._open is None:
            self._open = HourFile(self._ledger.table, self._hour, self._ledger.folder, self._ledger.folder / HALF_MADE)
        if stands is not None:
            gone = rows.filter(pa.array(~stands))
            self.dropped = self.dropped.plus(checksum(gone))
            self._repeated.append(gone.select(["_partition", "_offset"]))
            self._open.widen(gone)
            rows = rows.filter(pa.array(stands))
        self._open.write(rows)
        if self._open.rows >= self._file_rows:
            self.finish()

    def finish(self) -> None:
        """Give the file that is open its name; its footer says which messages had rows that do not stand."""
        if self._open is not None:
            self._files.append(self._open.finish(self._step, {REPEATED: repeated_text(self._repeated)}))
            self._open = None
            self._repeated.clear()

    def drop(self) -> None:
        if self._open is not None:
            self._open.drop()


def _require_hour(table: Table, file: ParquetFile, rows: pa.Table) -> None:
    low, high = (str(bound.as_py().isoformat())[:13] for bound in pc.min_max(rows.column(table.hour_of)).values())
    if {low, high} != {file.hour}:
        raise DifferentError(f"{table.name} {file.hour} stays as it is: it has rows of {low} to {high}, of other hours")
