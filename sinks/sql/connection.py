"""A DuckDB connection whose views are one snapshot of a lake."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import deltalake
import duckdb
import polars as pl

from schemas.errors import ConfigurationError
from sinks.lake.tables import MIXED_HOUR, TABLES, Table
from sinks.sql.at import NEWEST, At, require_files
from sinks.sql.damage import refusing_damage
from sinks.sql.definition import SETTINGS, Definition, define
from sinks.sql.dimensions import frames, read_registry, words
from sinks.sql.files import files_of
from sinks.sql.reading import every_row, once
from sinks.sql.snapshot import Span, open_table
from sinks.sql.sources import SIDES, SOURCES
from sinks.sql.views import VIEWS
from sinks.upkeep.damage import as_table, read_damage


def connect(lake: Path, span: Span | None = None, at: At = NEWEST) -> duckdb.DuckDBPyConnection:
    """Return a connection with the views of sinks.sql.views over a snapshot of `lake`.

    What a writer commits later is seen by a later connection. A table that nobody has written to is an
    empty view with its columns. `span` leaves out the rows of `gpu`, `power`, `progress`, `windows` and
    `alerts` whose time lies outside of it, and the files of other hours unread.

    Raises ConfigurationError where `lake` is not a folder of a lake, DataLossError where a file is cut or missing.
    """
    with refusing_damage(lake):
        return _connect(lake, span, at)


def _connect(lake: Path, span: Span | None, at: At) -> duckdb.DuckDBPyConnection:
    definition = definition_of(lake, span, at)
    # A large sort would otherwise spill into a folder `.tmp` of wherever the caller stands.
    spill = Path(tempfile.gettempdir()) / f"wattline-sql-{os.getpid()}"
    connection = duckdb.connect(":memory:", config={**SETTINGS, "temp_directory": str(spill)})
    define(connection, definition)
    return connection


def definition_of(lake: Path, span: Span | None = None, at: At = NEWEST) -> Definition:
    """Return what `connect` tells its connection: file lists and dimensions of one snapshot.

    Raises ConfigurationError where `lake` is not a folder of a lake.
    """
    if not lake.is_dir():
        raise ConfigurationError(
            f"no lake at {lake}: the folder does not exist. Start the lake writer (wattline run --only lake), or "
            f"name another folder with --lake or WATTLINE_LAKE."
        )
    asked = span or Span()
    opened = {table: open_table(lake, table, at) for table in TABLES}
    listed = pl.concat(_within(table, files_of(table, each), asked) for table, each in opened.items())
    if at != NEWEST:
        versions = {table.name: each.version() for table, each in opened.items() if each is not None}
        require_files(listed.filter("is_within_span")["path"], lake, versions)
    with duckdb.connect(":memory:", config=dict(SETTINGS)) as connection:
        known = frames(read_registry(lake, connection, at))
    empty = {f"{table.name}_empty": table.arrow.empty_table() for table in TABLES}
    dimensions = {"damage": as_table(read_damage(lake))}
    dimensions |= {
        name: frame.to_arrow() for name, frame in {**known, "files": listed, "versions": _versions(opened)}.items()
    }
    reading = _readings(listed.filter("is_within_span"), asked)
    return Definition({**empty, **dimensions}, (words(known), *reading, *VIEWS))


def _versions(opened: Mapping[Table, deltalake.DeltaTable | None]) -> pl.DataFrame:
    """Return the version of each table that is asked; none of one that had none."""
    told = [(table.name, each.version()) for table, each in opened.items() if each is not None]
    return pl.DataFrame(told, schema={"table": pl.String, "version": pl.Int64}, orient="row")


def _within(table: Table, files: pl.DataFrame, span: Span) -> pl.DataFrame:
    """Tell of each file whether its hour can hold rows of a span."""
    everything = pl.lit(value=True)
    within = everything if table.hour_of == "_appended" else span.hours(files["hour"].fill_null(MIXED_HOUR))
    return files.with_columns(within.alias("is_within_span"))


def _readings(files: pl.DataFrame, span: Span) -> Iterator[str]:
    """Yield the statements that make the relations which read files."""
    conditions = {
        table.name: "true" if table.hour_of == "_appended" else span.condition(f'"{table.hour_of}"') for table in TABLES
    }
    for table, condition in conditions.items():
        yield every_row(table, _sides(files, (table,)), condition)
    for view, source in SOURCES.items():
        yield once(view, _sides(files, source.tables), conditions[source.tables[0]])


def _sides(files: pl.DataFrame, tables: Sequence[str]) -> dict[str, list[str]]:
    of_tables = files.filter(pl.col("table").is_in(tables))
    return {side: of_tables.filter(pl.col("is_settled") == (side == "settled"))["path"].to_list() for side in SIDES}
