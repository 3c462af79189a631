"""A DuckDB connection whose views are one snapshot of a lake."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa

from schemas.errors import ConfigurationError
from sinks.lake.tables import TABLES, Table
from sinks.sql.dimensions import frames, read_registry
from sinks.sql.snapshot import Span, live_files
from sinks.sql.views import VIEWS

_SETTINGS = {
    # DuckDB otherwise reads variables of the caller as tables (traps.md 30) and looks for extensions
    # on the network (traps.md 50).
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


def connect(lake: Path, span: Span | None = None) -> duckdb.DuckDBPyConnection:
    """Return a connection with the views of sinks.sql.views over the newest snapshot of `lake`.

    What a writer commits later is seen by a later connection. A table that nobody has written to is an
    empty view with its columns. `span` leaves out the rows of `gpu`, `power`, `progress`, `windows` and
    `alerts` whose time lies outside of it, and the files of other hours unread.

    Raises ConfigurationError where `lake` is not a folder of a lake.
    """
    if not lake.is_dir():
        raise ConfigurationError(
            f"no lake at {lake}: the folder does not exist. Start the lake writer (wattline run --only lake), or "
            f"name another folder with --lake or WATTLINE_LAKE."
        )
    # A large sort would otherwise spill into a folder `.tmp` of wherever the caller stands.
    spill = Path(tempfile.gettempdir()) / f"wattline-sql-{os.getpid()}"
    connection = duckdb.connect(":memory:", config={**_SETTINGS, "temp_directory": str(spill)})
    connection.execute("SET TimeZone = 'UTC'")  # the lake's times are UTC without a zone; so must now() be
    connection.execute("CREATE SCHEMA raw")
    for table in TABLES:
        _define_raw(connection, lake, table, span or Span())
    _define_dimensions(connection, lake)
    for statements in VIEWS:
        connection.execute(statements)
    return connection


def _define_raw(connection: duckdb.DuckDBPyConnection, lake: Path, table: Table, span: Span) -> None:
    """Make `raw.<table>`: its live files, or no rows with the same columns."""
    name = f"raw.{table.name}"
    files = live_files(lake, table, span)
    if not files:
        _copy(connection, name, table.arrow.empty_table())
        return
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in files)
    condition = "true" if table.hour_of == "_appended" else span.condition(f'"{table.hour_of}"')
    read = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {read} WHERE {condition}")


def _define_dimensions(connection: duckdb.DuckDBPyConnection, lake: Path) -> None:
    """Copy the dimensions into the connection: small tables, which joins hash quickly."""
    for name, frame in frames(read_registry(lake, connection)).items():
        _copy(connection, f"raw.{name}", frame.to_arrow())


def _copy(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Make a table of DuckDB's own from an Arrow one."""
    connection.register("incoming", table)
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
    connection.unregister("incoming")
