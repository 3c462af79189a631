"""A DuckDB connection whose views are one snapshot of a lake."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import ConfigurationError
from sinks.lake.tables import TABLES, Table
from sinks.sql.damage import refusing_damage
from sinks.sql.definition import SETTINGS, Definition, define
from sinks.sql.dimensions import frames, read_registry
from sinks.sql.snapshot import Span, live_files
from sinks.sql.views import VIEWS
from sinks.upkeep.damage import as_table, read_damage


def connect(lake: Path, span: Span | None = None) -> duckdb.DuckDBPyConnection:
    """Return a connection with the views of sinks.sql.views over the newest snapshot of `lake`.

    What a writer commits later is seen by a later connection. A table that nobody has written to is an
    empty view with its columns. `span` leaves out the rows of `gpu`, `power`, `progress`, `windows` and
    `alerts` whose time lies outside of it, and the files of other hours unread.

    Raises ConfigurationError where `lake` is not a folder of a lake, DataLossError where a file is cut or missing.
    """
    with refusing_damage(lake):
        return _connect(lake, span)


def _connect(lake: Path, span: Span | None) -> duckdb.DuckDBPyConnection:
    definition = definition_of(lake, span)
    # A large sort would otherwise spill into a folder `.tmp` of wherever the caller stands.
    spill = Path(tempfile.gettempdir()) / f"wattline-sql-{os.getpid()}"
    connection = duckdb.connect(":memory:", config={**SETTINGS, "temp_directory": str(spill)})
    define(connection, definition)
    return connection


def definition_of(lake: Path, span: Span | None = None) -> Definition:
    """Return what `connect` tells its connection: file lists and dimensions of the newest snapshot.

    Raises ConfigurationError where `lake` is not a folder of a lake.
    """
    if not lake.is_dir():
        raise ConfigurationError(
            f"no lake at {lake}: the folder does not exist. Start the lake writer (wattline run --only lake), or "
            f"name another folder with --lake or WATTLINE_LAKE."
        )
    files = {table: live_files(lake, table, span or Span()) for table in TABLES}
    empty = {table.name: table.arrow.empty_table() for table, paths in files.items() if not paths}
    old = [table for table, paths in files.items() if paths and _lacks_columns(table, paths[0])]
    empty |= {f"{table.name}_columns": table.arrow.empty_table() for table in old}
    reading = (_view(table, paths, span or Span(), is_old=table in old) for table, paths in files.items() if paths)
    with duckdb.connect(":memory:", config=dict(SETTINGS)) as connection:
        dimensions = {"damage": as_table(read_damage(lake))}
        dimensions |= {name: frame.to_arrow() for name, frame in frames(read_registry(lake, connection)).items()}
    return Definition({**empty, **dimensions}, (*reading, *VIEWS))


def _lacks_columns(table: Table, path: str) -> bool:
    """Tell whether a file is of a version that knew fewer columns; then all may be, and no view would find them."""
    try:
        return not set(table.arrow.names) <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):  # a damaged file: whoever asks for its rows is told
        return False


def _view(table: Table, files: list[str], span: Span, *, is_old: bool) -> str:
    """Return the statement that makes `raw.<table>` of its live files."""
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in files)
    condition = "true" if table.hour_of == "_appended" else span.condition(f'"{table.hour_of}"')
    read = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    columns = f" UNION ALL BY NAME SELECT * FROM raw.{table.name}_columns" if is_old else ""
    return f"CREATE VIEW raw.{table.name} AS SELECT * FROM {read} WHERE {condition}{columns}"
