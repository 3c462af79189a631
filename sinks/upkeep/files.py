"""The live files of a table with what the log says of each, as a frame: what retention, budget and scrubber look at."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sinks.lake.tables import Table
from sinks.sql.snapshot import open_table

_SCHEMA = {
    "path": pl.String,
    "bytes": pl.Int64,
    "rows": pl.Int64,
    "hour": pl.String,
    "low": pl.Datetime("us"),
    "high": pl.Datetime("us"),
}


def add_actions(lake: Path, table: Table) -> pl.DataFrame:
    """Return what the log says of each file of a table's newest version, as deltalake names it; empty where none."""
    delta = open_table(lake, table)
    return pl.DataFrame() if delta is None else pl.DataFrame(delta.get_add_actions(flatten=True))


def live_files(lake: Path, table: Table) -> pl.DataFrame:
    """Return the files of a table's newest version, none where there is no table.

    Columns: path (below the table's folder), bytes, rows, hour, and low and high: when the first and the last of its
    rows were appended to Kafka, UTC without zone; null where the log does not say.
    """
    actions = add_actions(lake, table)
    if not actions.height:
        return pl.DataFrame(schema=_SCHEMA)
    bounds = {name: f"{end}._appended" for name, end in (("low", "min"), ("high", "max"))}
    return actions.select(
        path=pl.col("path"),
        bytes=pl.col("size_bytes"),
        rows=pl.col("num_records"),
        hour=pl.col("partition.hour"),
        **{
            name: pl.col(column) if column in actions.columns else pl.lit(None, pl.Datetime("us"))
            for name, column in bounds.items()
        },
    ).cast(_SCHEMA)  # type: ignore[arg-type]
