"""The reference and its comparison: what DuckDB makes of the raw rows, against the windows that were told.

The statements of `sql/` are written from what schemas.md and the decisions say of windows, slowly and plainly, in
integers, and without a line of the streams' own code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb
import polars as pl
import pyarrow as pa

from schemas.message import Message
from schemas.registry import Registry
from schemas.subject import SubjectKind
from sinks.lake.rows import read_rows
from tests.streams.live_equals_lake.campus_jobs import campus_jobs, said_of_jobs

KEY = ("every_seconds", "window_start", "subject_kind", "subject")
BIN = (*KEY, "metric", "bin")
VERSION = ("version_admission", "version_facility", "version_generation", "version_readings", "version_digest")
FRAMES = ("sites", "racks", "nodes", "slots", "meters", "sums", "power", "feed_racks", "limits")
STEPS = (
    "hashes",
    "log",
    "gpu_seconds",
    "meter_seconds",
    "members",
    "meters_above",
    "bounds",
    "windows",
    "device_minutes",
    "histograms",
    "jobs",
    "reference",
)
"""In this order; each makes tables that those after it read."""


class Reference(NamedTuple):
    """Hold what the raw rows come to: windows ordered by KEY, bins of histograms ordered by BIN."""

    windows: pl.DataFrame
    histograms: pl.DataFrame


def raw_rows(messages: Mapping[str, Iterable[Message]], registry: Registry) -> dict[str, pa.Table]:
    """Return the rows of the tables `gpu` and `power` that the lake's own reader makes of all messages."""
    topics = {"gpu": "telemetry.gpu.v1", "power": "telemetry.power.v1"}
    return {name: read_rows(topic, list(messages[topic]), registry, "event")[name] for name, topic in topics.items()}


def lake_of(tables: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """Return a connection with these tables in the schema `raw`."""
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
    connection.execute("CREATE SCHEMA raw")
    for name, table in tables.items():
        connection.register("incoming", table)
        connection.execute(f"CREATE TABLE raw.{name} AS SELECT * FROM incoming")
        connection.unregister("incoming")
    return connection


def reference(connection: duckdb.DuckDBPyConnection, registry: Registry) -> Reference:
    """Return what the raw rows come to, with the jobs of the campus."""
    frames = {name: getattr(registry, name) for name in FRAMES} | {"said_of_jobs": said_of_jobs(campus_jobs(registry))}
    for name, frame in frames.items():
        connection.register(f"{name}_frame", frame.to_arrow())
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {name}_frame")
    for step in STEPS:
        connection.execute((Path(__file__).parent / "sql" / f"{step}.sql").read_text())
    windows, bins = (
        pl.from_arrow(connection.sql(f"FROM {name}").to_arrow_table()) for name in ("reference", "histogram")
    )
    return Reference(windows.sort(KEY), bins.sort(BIN))


def _table(connection: duckdb.DuckDBPyConnection, name: str) -> pl.DataFrame:
    frame = pl.from_arrow(connection.table(name).to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def greatest(windows: pl.DataFrame) -> pl.DataFrame:
    """Return the greatest version of each window, ordered by KEY; without those of jobs that were withdrawn."""
    newest = windows.sort(*KEY, *VERSION).unique(KEY, keep="last", maintain_order=True)
    return newest.filter((pl.col("subject_kind") != SubjectKind.JOB) | (pl.col("expected") > 0))


def greatest_bins(histograms: pl.DataFrame) -> pl.DataFrame:
    """Return the bins of the greatest version of each histogram, each once, ordered by BIN."""
    is_own_power = pl.col("metric") == 1
    is_greatest = pl.struct(VERSION) == pl.struct(VERSION).sort().last().over(*KEY, is_own_power)
    return histograms.filter(is_greatest).unique(BIN, keep="last").sort(BIN)


def differences(told: pl.DataFrame, wanted: pl.DataFrame, end: int) -> pl.DataFrame:
    """Return the windows that end by the second `end` and differ, or are missing on one side: KEY and `columns`."""
    return _differing(greatest(told.filter(_ends(end))), wanted.filter(_ends(end)), KEY)


def differing_bins(told: pl.DataFrame, wanted: pl.DataFrame, end: int) -> pl.DataFrame:
    """Return the bins of windows that end by the second `end` and differ, or are on one side only."""
    return _differing(greatest_bins(told.filter(_ends(end))), wanted.filter(_ends(end)), BIN)


def _ends(end: int) -> pl.Expr:
    return pl.col("window_start").cast(pl.Int64) // 1_000_000 + pl.col("every_seconds") <= end


def _differing(told: pl.DataFrame, wanted: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    told = told.select(pl.col(name).cast(wanted.schema[name]) for name in wanted.columns)
    both = told.join(wanted, on=key, how="full", suffix="_wanted", coalesce=True)
    values = [name for name in wanted.columns if name not in key]
    differs = (pl.col(name).ne_missing(pl.col(f"{name}_wanted")) for name in values)
    named = [pl.when(differs_).then(pl.lit(name)) for name, differs_ in zip(values, differs, strict=True)]
    both = both.with_columns(columns=pl.concat_list(named).list.drop_nulls())
    return both.filter(pl.col("columns").list.len() > 0).sort(key)
