"""What a connection must be told to show one snapshot: the seam between who may read a lake's logs and who asks.

A definition is made where the Delta logs can be opened (sinks.sql.connection) and told to a connection anywhere: this
module knows neither deltalake, which panics in a forked child (traps.md 38), nor polars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import duckdb
import pyarrow as pa

from sinks.sql.aim import aim_at_nothing, unaim
from sinks.sql.plan import PLANNED

SETTINGS: Mapping[str, str] = {
    # DuckDB otherwise reads variables of the caller as tables (traps.md 30) and looks for extensions
    # on the network (traps.md 50).
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
"""What every connection to a lake is made with."""


class Definition(NamedTuple):
    """Hold small tables by their names in the schema `raw`, and the statements that make views, in their order."""

    tables: Mapping[str, pa.Table]
    statements: tuple[str, ...]


def define(connection: duckdb.DuckDBPyConnection, definition: Definition) -> None:
    """Tell a new connection what a snapshot is made of."""
    connection.execute("SET TimeZone = 'UTC'")  # the lake's times are UTC without a zone; so must now() be
    connection.execute("SET parquet_metadata_cache = true")  # the footer of a file that did not change is read once
    connection.execute(f"CREATE SCHEMA raw; CREATE SCHEMA {PLANNED}")
    for name, table in definition.tables.items():
        _copy(connection, f"raw.{name}", table)
    aim_at_nothing(connection)  # one file of each table is opened to make its views, not all
    for statement in definition.statements:
        connection.execute(statement)
    unaim(connection)


def _copy(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Make a table of DuckDB's own from an Arrow one: joins hash it quickly."""
    connection.register("incoming", table)
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
    connection.unregister("incoming")
