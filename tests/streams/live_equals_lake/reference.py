"""The reference and its comparison: what DuckDB makes of the raw rows, against the windows that were told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from schemas.message import Message
from schemas.registry import Registry
from sinks.lake.rows import read_rows
from streams.members import members_of

KEY = ("every_seconds", "window_start", "subject_kind", "subject")
VERSION = ("version_admission", "version_facility", "version_generation", "version_readings", "version_digest")
FRAMES = ("slots", "racks", "sums", "meters")


def counted(registry: Registry) -> pl.DataFrame:
    """Return (subject_kind, subject, kind, id): which sources the version of each subject counts.

    The one thing that the reference takes from the streams: what a version counts is their choice.
    """
    members = members_of(registry)
    own, circle, circles = members.counted.own, members.counted.circle, members.counted.circles
    shared = [(subject, circles.of[circles.whose == which]) for subject, which in enumerate(circle) if which >= 0]
    pairs = pl.DataFrame(
        {
            "index": [*own.whose.tolist(), *(subject for subject, of in shared for _ in of)],
            "source": [*own.of.tolist(), *(source for _, of in shared for source in of.tolist())],
        }
    )
    subjects = members.subjects.select("subject_kind", "subject").with_row_index("index").cast({"index": pl.Int64})
    sources = members.sources.select("source", "kind", "id")
    return pairs.join(subjects, on="index").join(sources, on="source").select("subject_kind", "subject", "kind", "id")


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


def reference(connection: duckdb.DuckDBPyConnection, registry: Registry) -> pl.DataFrame:
    """Return the windows that the raw rows come to, ordered by KEY."""
    for name, frame in {**{name: getattr(registry, name) for name in FRAMES}, "counted_by": counted(registry)}.items():
        connection.register(f"{name}_frame", frame.to_arrow())
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {name}_frame")
    connection.execute((Path(__file__).parent / "reference.sql").read_text())
    return pl.from_arrow(connection.sql("FROM reference").to_arrow_table()).sort(KEY)


def greatest(windows: pl.DataFrame) -> pl.DataFrame:
    """Return the greatest version of each window, ordered by KEY."""
    return windows.sort(*KEY, *VERSION).unique(KEY, keep="last", maintain_order=True)


def differences(told: pl.DataFrame, wanted: pl.DataFrame, end: int) -> pl.DataFrame:
    """Return the windows that end by the second `end` and differ, or are missing on one side: KEY and `columns`."""
    ends = pl.col("window_start").cast(pl.Int64) // 1_000_000 + pl.col("every_seconds") <= end
    kinds = pl.col("subject_kind").is_in(wanted["subject_kind"].unique().implode())
    columns = wanted.columns
    told = greatest(told.filter(ends, kinds)).select(pl.col(name).cast(wanted.schema[name]) for name in columns)
    both = told.join(wanted.filter(ends), on=KEY, how="full", suffix="_wanted", coalesce=True)
    values = [name for name in columns if name not in KEY]
    differs = (pl.col(name).ne_missing(pl.col(f"{name}_wanted")) for name in values)
    named = [pl.when(differs_).then(pl.lit(name)) for name, differs_ in zip(values, differs, strict=True)]
    both = both.with_columns(columns=pl.concat_list(named).list.drop_nulls())
    return both.filter(pl.col("columns").list.len() > 0).sort(KEY)
