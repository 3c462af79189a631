"""An hour file: written piece by piece in order, then hashed, durable and named like any file of the lake."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sinks.lake.durable import make_folder, move, sync_file
from sinks.lake.parquet import (
    ROW_GROUP_ROWS,
    Bounds,
    Hashing,
    ParquetFile,
    Step,
    bounds_of,
    check_footer,
    hour_settings,
    told,
)
from sinks.lake.tables import Table

APPENDED = "_appended"

HOUR_GROUP_ROWS = ROW_GROUP_ROWS


class HourFile:
    """Write one file `hour=H/hour-<sha256>-<8 hex>.parquet` of a table; `folder` is for it while it is half-written."""

    def __init__(self, table: Table, hour: str, root: Path, folder: Path) -> None:
        make_folder(folder)
        self.rows = 0
        self._table, self._hour, self._root = table, hour, root
        self._temporary = folder / f"hour-{secrets.token_hex(8)}.parquet"
        self._raw = self._temporary.open("xb")
        self._hashing = Hashing(self._raw)
        sink = pa.PythonFile(self._hashing, mode="w")
        self._writer = pq.ParquetWriter(sink, table.arrow, **hour_settings(table))
        self._waiting: list[pa.Table] = []
        self._bounds: list[Bounds] = []

    def write(self, rows: pa.Table) -> None:
        """Write rows behind those before; row groups of about HOUR_GROUP_ROWS, however small the pieces are."""
        self.rows += rows.num_rows
        self._bounds.append(bounds_of(rows, self._table))
        self._waiting.append(rows)
        if sum(each.num_rows for each in self._waiting) >= HOUR_GROUP_ROWS:
            self._write_waiting()

    def widen(self, gone: pa.Table) -> None:
        """Let the bounds of append times reach over rows that stand no more, so that who looks for them looks here."""
        bounds = bounds_of(gone, self._table)
        low, high = ({name: of[name] for name in (APPENDED,) if name in of} for of in (bounds.low, bounds.high))
        self._bounds.append(Bounds(0, low, high, {}))

    def finish(self, step: Step, words: Mapping[str, str]) -> ParquetFile:
        """Make the file durable and give it its name; `words` go into its footer."""
        self._write_waiting()
        self._writer.add_key_value_metadata(dict(words))
        self._writer.close()
        self._raw.close()
        step("file written")
        sync_file(self._temporary)
        step("file synced")
        target = (
            self._root
            / f"hour={self._hour}"
            / f"hour-{self._hashing.digest.hexdigest()}-{secrets.token_hex(4)}.parquet"
        )
        make_folder(target.parent)
        move(self._temporary, target)
        step("file named")
        check_footer(target, self.rows)
        path = str(target.relative_to(self._root))
        sha256 = self._hashing.digest.hexdigest()
        return ParquetFile(path, self._hour, self._hashing.size, self.rows, sha256, told(self._bounds))

    def drop(self) -> None:
        """Close and remove what is half-written."""
        self._raw.close()
        self._temporary.unlink(missing_ok=True)

    def _write_waiting(self) -> None:
        rows = pa.concat_tables(self._waiting) if self._waiting else self._table.arrow.empty_table()
        self._waiting.clear()
        if rows.num_rows:
            groups = max(1, round(rows.num_rows / HOUR_GROUP_ROWS))
            self._writer.write_table(rows, row_group_size=-(-rows.num_rows // groups))
