"""Rows that shared one file because a flush touched too many hours go to hours of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sinks.lake.ledger import Ledger, LiveFile
from sinks.lake.order import HOUR_MICROSECONDS, LOG_ORDER, hour_text, in_order, integers
from sinks.lake.parquet import ParquetFile, Step, remove_files, write_file
from sinks.lake.tables import MIXED_HOUR
from sinks.upkeep.read_back import read_back
from sinks.upkeep.row_checksum import checksum
from sinks.upkeep.runs import UnfitFileError, conformed

LEAST_ROWS = 64
"""Hours that have no file yet get one for so many rows; a clock that runs wild must not make a file a row."""


class Moved(NamedTuple):
    """Say what became of a mixed file: how many of its rows went to how many hours, and how many stay mixed."""

    table: str
    rows: int
    hours: int
    left: int

    def __str__(self) -> str:
        left = f", {self.left:,} stay together: too few for files of their own" if self.left else ""
        return f"{self.table}: {self.rows:,} rows of a mixed file went to {self.hours:,} hours{left}"


def unmix(ledger: Ledger, file: LiveFile, step: Step = lambda _: None) -> Moved | None:
    """Move the rows of a mixed file to their hours in one commit; None where none is to be moved.

    They move to hours that have files, or that get LEAST_ROWS of them. The caller holds the lake's upkeep alone.
    Raises UnfitFileError where the file cannot be read or is not read back as it was; the table is as it was then.
    """
    rows = _read(ledger, file)
    hours = integers(rows.column(ledger.table.hour_of)) // HOUR_MICROSECONDS
    chosen = _chosen(hours, {each.hour for each in ledger.live().values()})
    if not len(chosen):
        return None
    files: list[ParquetFile] = []
    try:
        files.extend(_write(ledger, rows, hours, chosen, step))
        if read_back(ledger.folder, files, ledger.table) != checksum(rows):
            raise UnfitFileError(f"{ledger.folder / file.path} stays as it is: its rows are not read back as they were")
        step("files verified")
        ledger.replace([file.path], files, f"compact/{MIXED_HOUR}", {"operation_of": "compaction"})
    except BaseException:
        live = ledger.live()
        remove_files([each for each in files if each.path not in live], ledger.folder)
        raise
    left = sum(each.rows for each in files if each.hour == MIXED_HOUR)
    return Moved(ledger.table.name, rows.num_rows - left, len(chosen), left)


def _read(ledger: Ledger, file: LiveFile) -> pa.Table:
    path = ledger.folder / file.path
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            return conformed(opened.read(use_threads=False), ledger.table)
    except (OSError, pa.ArrowException) as error:
        raise UnfitFileError(f"{path} cannot be read: {error}") from error


def _chosen(hours: np.ndarray, populated: Collection[str]) -> np.ndarray:
    distinct, counts = np.unique(hours, return_counts=True)
    has_files = np.array([hour_text(hour) in populated for hour in distinct], dtype=bool)
    chosen: np.ndarray = distinct[has_files | (counts >= LEAST_ROWS)]
    return chosen


def _write(ledger: Ledger, rows: pa.Table, hours: np.ndarray, chosen: np.ndarray, step: Step) -> Iterator[ParquetFile]:
    by = (*ledger.table.sort, *LOG_ORDER)
    for hour in chosen:
        of_hour = in_order(rows.filter(pa.array(hours == hour)), by)
        yield write_file(of_hour, hour_text(hour), ledger.table, ledger.folder, step)
    left = rows.filter(pa.array(~np.isin(hours, chosen)))
    if left.num_rows:
        yield write_file(in_order(left, by), MIXED_HOUR, ledger.table, ledger.folder, step)
