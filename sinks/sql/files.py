"""The live files of a snapshot as one relation: what a reader must know of each to leave it unread."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlparse

import deltalake
import polars as pl

from sinks.lake.identity import IDENTITIES
from sinks.lake.ledger import HOUR_PREFIX
from sinks.lake.tables import MIXED_HOUR, Table

FILES: dict[str, type[pl.DataType]] = {
    "table": pl.String,
    "path": pl.String,
    "hour": pl.String,
    "hour_began": pl.Int64,
    "rows": pl.Int64,
    "bytes": pl.Int64,
    "time_low": pl.Int64,
    "time_high": pl.Int64,
    "kind_low": pl.Int64,
    "kind_high": pl.Int64,
    "id_low": pl.Int64,
    "id_high": pl.Int64,
    "is_settled": pl.Boolean,
}
"""`hour` UTC, `mixed` or null; `hour_began` its first µs; `time_…` µs of the table's own time, `kind_…` and `id_…` of
what its rows are sorted by, all bounds inclusive, null = not told. `is_settled`: of the file's hour every identity
stands once in one file."""

_IDS = {"gpu": "rack", "power": "meter"}
_KINDS = ("windows_1s", "windows_1m", "histograms")
_HOUR_MICROSECONDS = 3_600_000_000


def files_of(table: Table, opened: deltalake.DeltaTable | None) -> pl.DataFrame:
    """Return the live files of one version of a table with the columns of FILES."""
    actions = pl.DataFrame() if opened is None else pl.DataFrame(opened.get_add_actions(flatten=True))
    if opened is None or not actions.height:
        return pl.DataFrame(schema=FILES)
    folder = Path(unquote(urlparse(opened.table_uri).path))
    ids = "subject" if table.name in _KINDS else _IDS.get(table.name)
    kinds = "subject_kind" if table.name in _KINDS else None
    told = actions.select(
        pl.lit(table.name).alias("table"),
        path=f"{folder}/" + pl.col("path"),
        hour=_column(actions, "partition.hour", pl.String),
        hour_began=_began(_column(actions, "partition.hour", pl.String)),
        rows=_column(actions, "num_records"),
        bytes=pl.col("size_bytes").cast(pl.Int64),
        time_low=_column(actions, f"min.{table.hour_of}"),
        time_high=_column(actions, f"max.{table.hour_of}"),
        kind_low=_column(actions, f"min.{kinds}"),
        kind_high=_column(actions, f"max.{kinds}"),
        id_low=_column(actions, f"min.{ids}"),
        id_high=_column(actions, f"max.{ids}"),
    )
    return told.with_columns(_settled(told, table)).sort("hour", "path", nulls_last=False)


def _column(actions: pl.DataFrame, name: str, dtype: type[pl.DataType] = pl.Int64) -> pl.Expr:
    """Return a column of add actions, times as microseconds; null where no file told it."""
    if name not in actions.columns:
        return pl.lit(None, dtype)
    column = pl.col(name)
    return column.dt.epoch("us") if isinstance(actions.schema[name], pl.Datetime) else column.cast(dtype)


def _settled(files: pl.DataFrame, table: Table) -> pl.Series:
    """Tell of each file whether its hour is settled: of compacted files alone, which no mixed file touches."""
    is_mixed = files["hour"].is_null() | (files["hour"] == MIXED_HOUR)
    is_compacted = files["path"].str.split("/").list.last().str.starts_with(HOUR_PREFIX) & ~is_mixed
    open_hours = files.filter(~is_compacted & ~is_mixed)["hour"].unique()
    within = is_compacted & ~files["hour"].is_in(open_hours.implode())
    if not IDENTITIES[table.name].is_within_hour:
        return pl.repeat(False, files.height, eager=True).alias("is_settled")
    mixed, began = files.filter(is_mixed), files["hour_began"]
    for low, high in mixed.select(
        pl.col("time_low").fill_null(-(2**62)), pl.col("time_high").fill_null(2**62)
    ).iter_rows():
        within &= (began + _HOUR_MICROSECONDS <= low) | (began > high)
    return within.fill_null(value=False).alias("is_settled")


def _began(hours: pl.Expr) -> pl.Expr:
    """Return the first microsecond of each hour; null for what is none."""
    return (hours + ":00").str.to_datetime("%Y-%m-%dT%H:%M", strict=False, time_unit="us").dt.epoch("us")
