"""Columns and records: the one declaration from which Arrow, polars, Delta and the docs are derived."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa

_POLARS: dict[pa.DataType, pl.DataType | type[pl.DataType]] = {
    pa.bool_(): pl.Boolean,
    pa.int8(): pl.Int8,
    pa.int16(): pl.Int16,
    pa.int32(): pl.Int32,
    pa.int64(): pl.Int64,
    pa.float32(): pl.Float32,
    pa.float64(): pl.Float64,
    pa.string(): pl.String,
    pa.binary(): pl.Binary,
    pa.timestamp("us"): pl.Datetime("us"),
}

TIME = pa.timestamp("us")
"""Every time of Wattline: microseconds, UTC, without a zone (traps.md 42)."""


@dataclass(frozen=True)
class Column:
    """Describe one column of a record.

    `unit` is the unit of the values ("" where there is none); `null` says what a null means,
    and None says that the column may not be null.
    """

    name: str
    dtype: pa.DataType
    about: str
    unit: str = ""
    null: str | None = "not measured"
    low: float | None = None
    high: float | None = None

    @property
    def is_required(self) -> bool:
        """Tell whether a row without this column is refused."""
        return self.null is None


@dataclass(frozen=True)
class Record:
    """Describe one kind of record: its columns, in wire order, and what makes two rows the same."""

    name: str
    version: int
    identity: tuple[str, ...]
    columns: tuple[Column, ...]

    @cached_property
    def arrow(self) -> pa.Schema:
        """Return the Arrow schema of the wire: these columns, in this order, no metadata."""
        return pa.schema([pa.field(column.name, column.dtype) for column in self.columns])

    @cached_property
    def polars(self) -> dict[str, pl.DataType | type[pl.DataType]]:
        """Return the polars schema of the same columns."""
        return {column.name: _POLARS[column.dtype] for column in self.columns}

    @cached_property
    def schema_header(self) -> str:
        """Return the value of the Kafka header `schema`: name and version."""
        return f"{self.name}/{self.version}"

    def column(self, name: str) -> Column:
        """Return the column called `name`; KeyError names the record where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name!r}")

    def __hash__(self) -> int:
        """Hash by name: records are keys of caches on the hot path, and hashing every column costs 15 µs."""
        return hash((self.name, self.version))

    def empty(self) -> pl.DataFrame:
        """Return a frame of this record without rows."""
        return self._empty.clone()

    @cached_property
    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.polars)
