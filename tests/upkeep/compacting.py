"""Lakes with hours to compact, and what stands in them by the views' own rule, for the tests of compaction."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.message import Message
from sinks.lake.flush import Tables
from sinks.lake.identity import stands
from sinks.lake.ledger import Ledger
from sinks.lake.positions import Source
from sinks.lake.tables import BY_NAME, Table
from tests.lake.readings import GPU_TOPIC, START, gpu_message

HOUR = "2026-03-01T12"
SECOND = 1_000_000


def gpu_lake(lake: Path, flushes: int = 6, first: int = 0) -> None:
    """Write flushes of two racks in one partition; every third message is told again later with another power."""
    tables = Tables(lake, "event")
    for number in range(first, first + flushes):
        tables.flush({Source(GPU_TOPIC, 0): [again(offset) for offset in range(number * 10, number * 10 + 10)]}, None)


def again(offset: int) -> Message:
    """Return a message of a second that is its own, or that of one sent before."""
    second = offset - 4 if offset % 3 == 0 and offset >= 4 else offset
    return gpu_message(offset, rack=1 + offset % 2, time=START + second * SECOND)


def rows_in(lake: Path, table: str) -> pa.Table:
    """Return the rows of the live files, one file after the other."""
    ledger = Ledger(BY_NAME[table], lake)
    paths = [ledger.folder / path for path in sorted(ledger.live())]
    return pa.concat_tables([pq.ParquetFile(path).read() for path in paths])


def standing_rows(rows: pa.Table, table: str) -> pl.DataFrame:
    """Return the rows that stand by SQL, in one order: the rule of the views, made by another program."""
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        found = connection.sql(f"SELECT * FROM rows QUALIFY {stands(table)}").to_arrow_table()
    return by_place(found)


def by_place(rows: pa.Table) -> pl.DataFrame:
    """Return rows as a frame, by their place in the log."""
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.sort("_partition", "_offset", "_row")


def random_rows(table: Table, count: int, seed: int) -> pa.Table:
    """Return rows of one hour whose values come from small sets, with nulls: many are one and the same thing."""
    draw = np.random.default_rng(seed)
    columns = [_column(field, count, draw) for field in table.columns]
    rows = pa.table(columns, schema=table.arrow)
    place = {"_partition": draw.integers(0, 2, count), "_offset": np.arange(count) // 3, "_row": np.arange(count) % 3}
    for name, values in place.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(name), pa.array(values, rows.schema.field(name).type))
    return rows


def _column(field: pa.Field, count: int, draw: np.random.Generator) -> pa.Array:
    if field.name.startswith("version_"):
        return pa.array(draw.integers(0, 2, count), field.type)
    numbers = draw.integers(0, 3, count)
    is_null = draw.random(count) < 0.2 if field.nullable else np.zeros(count, bool)
    if pa.types.is_timestamp(field.type):
        values = pa.array(START + numbers * SECOND, pa.int64()).cast(field.type)
    elif pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
        values = pa.array(numbers + (field.name == "metric"), field.type, safe=False)
    elif pa.types.is_nested(field.type) or pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
        return pa.nulls(count, field.type)
    else:
        values = pa.array([f"v{number}" for number in numbers], field.type)
    return pa.array(
        [None if null else value for value, null in zip(values.to_pylist(), is_null, strict=True)], field.type
    )
