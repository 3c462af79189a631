"""Sorted files, read piece by piece: each row group is decoded once, its page checksums are looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.errors import WattlineError
from sinks.lake.order import integers
from sinks.lake.tables import Table

Key = tuple[int, ...]
"""Values of the first columns by which a table is sorted."""

_TEXT_BYTES = 64
"""What a value of no fixed width takes in memory, for a guess."""


class UnfitFileError(WattlineError):
    """Report a file that cannot be merged as it is: it stays where it is."""


class Run:
    """Read rows of a table that are in order, from one file or several that follow each other.

    `rows` are those that were read and not yet taken, in order by `cut`. `seen` is called with every piece as it was
    read. One file is open at a time: a footer of hundreds of row groups takes more memory than a row group.
    Raises UnfitFileError where a file is not what it should be.
    """

    def __init__(
        self, paths: Sequence[Path], table: Table, cut: Sequence[str], seen: Callable[[pa.Table], None]
    ) -> None:
        self._table, self._cut, self._seen = table, tuple(cut), seen
        self._later = list(paths)
        self._keys: list[NDArray[np.int64]] = []
        self.rows = table.arrow.empty_table()
        self._open_next()

    @property
    def group_bytes(self) -> int:
        """Return about how much memory the largest row group of the open file takes."""
        metadata = self._file.metadata
        most = max((metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)), default=0)
        return most * row_bytes(self._table)

    @property
    def is_at_end(self) -> bool:
        """Tell whether every row group has been read."""
        return self._is_read and not self._later

    @property
    def _is_read(self) -> bool:
        return bool(self._next >= self._file.metadata.num_row_groups)

    def _open_next(self) -> None:
        self.path, self._next = self._later.pop(0), 0
        try:
            self._file = pq.ParquetFile(self.path, page_checksum_verification=True, pre_buffer=False)
        except (OSError, pa.ArrowException) as error:
            raise UnfitFileError(f"{self.path} cannot be read: {error}") from error
        self._require_columns()

    @property
    def last(self) -> Key:
        """Return the key of the last row that was read and not taken."""
        return tuple(int(column[-1]) for column in self._keys)

    def read(self) -> None:
        """Read one row group more, where there is one in the open file; else open the next."""
        if self._is_read:
            self._file.close()
            self._open_next()
            return
        try:
            piece = self._file.read_row_group(self._next, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise UnfitFileError(f"{self.path}, row group {self._next}: {error}") from error
        self._next += 1
        piece = conformed(piece, self._table)
        self._seen(piece)
        self.rows = pa.concat_tables([self.rows, piece]) if self.rows.num_rows else piece
        self._keys = [integers(self.rows.column(name)) for name in self._cut]
        if not is_in_order(self._keys):
            raise UnfitFileError(f"{self.path}, row group {self._next - 1}: its rows are not by {', '.join(self._cut)}")

    def take(self, edge: Key | None) -> pa.Table:
        """Take the rows before `edge`; all of them where there is none."""
        at = self.rows.num_rows if edge is None else lower_bound(self._keys, edge)
        taken, left = self.rows.slice(0, at), self.rows.slice(at)
        # What is left is a part of a row group and would keep all of it in memory.
        self.rows = left.take(pa.array(np.arange(left.num_rows))) if left.num_rows < at else left
        self._keys = [column[at:] for column in self._keys]
        return taken

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _require_columns(self) -> None:
        known = set(self._table.arrow.names)
        if unknown := [name for name in self._file.schema_arrow.names if name not in known]:
            raise UnfitFileError(
                f"{self.path} has the column {unknown[0]!r}, which this version of Wattline does not know and would "
                "lose: run the upkeep of the newest version"
            )


def conformed(piece: pa.Table, table: Table) -> pa.Table:
    """Return rows with exactly the columns of a table: what an older file lacks is null."""
    if piece.schema.equals(table.arrow):
        return piece
    columns = [
        piece.column(field.name).cast(field.type)
        if field.name in piece.schema.names
        else pa.nulls(piece.num_rows, field.type)
        for field in table.arrow
    ]
    return pa.table(columns, schema=table.arrow)


def row_bytes(table: Table) -> int:
    """Return about how much memory a row of a table takes."""
    bits = [field.type.bit_width if pa.types.is_primitive(field.type) else 8 * _TEXT_BYTES for field in table.columns]
    return sum(bits) // 8


def is_in_order(columns: Sequence[NDArray[np.int64]]) -> bool:
    """Tell whether rows are in order by columns, the first one first."""
    is_equal: NDArray[np.bool_] | None = None
    for column in columns:
        falls, same = column[1:] < column[:-1], column[1:] == column[:-1]
        if (falls if is_equal is None else falls & is_equal).any():
            return False
        is_equal = same if is_equal is None else same & is_equal
    return True


def lower_bound(columns: Sequence[NDArray[np.int64]], edge: Key) -> int:
    """Return the number of the first row that is not before `edge`, in rows that are in order."""
    low, high = 0, len(columns[0]) if columns else 0
    for column, value in zip(columns, edge, strict=True):
        within = column[low:high]
        low, high = (
            low + int(np.searchsorted(within, value, "left")),
            low + int(np.searchsorted(within, value, "right")),
        )
    return low
