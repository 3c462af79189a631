"""Rows of a partial from columns of integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from schemas.column import Record
from schemas.partial import PARTIAL

Int64s = NDArray[np.int64]


class Nullable(NamedTuple):
    """Hold a column and where it is null."""

    values: NDArray[Any]
    is_null: NDArray[np.bool_]


Column = NDArray[Any] | Nullable


def partial_rows(columns: Mapping[str, Column]) -> pl.DataFrame:
    """Return PARTIAL rows; a column that is not given is null in all of them."""
    return rows_of(PARTIAL, columns, len(columns["second"]))


def rows_of(record: Record, columns: Mapping[str, Column], count: int) -> pl.DataFrame:
    """Return `count` rows of a record; a column that is not given is null in all of them.

    Through Arrow, and its types through numpy: polars' own constructor costs five times as much for few rows.
    """
    arrays = [
        _array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in record.arrow
    ]
    return pl.DataFrame(pa.RecordBatch.from_arrays(arrays, schema=record.arrow))


def _array(column: Column, dtype: pa.DataType) -> pa.Array:
    values, is_null = column if isinstance(column, Nullable) else (column, None)
    numbers = values.astype(np.int64 if pa.types.is_timestamp(dtype) else dtype.to_pandas_dtype(), copy=False)
    array = pa.array(numbers, mask=is_null if is_null is not None and is_null.any() else None)
    return array if array.type == dtype else array.view(dtype)
