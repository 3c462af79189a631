"""Columns of whole numbers as arrays. Through Arrow: an expression of polars costs ten times as much for few rows."""

from __future__ import annotations

from typing import Any

import polars as pl
from numpy.typing import NDArray


def filled(column: pl.Series, null: int) -> NDArray[Any]:
    """Return the values of a column of integers or booleans, `null` where it has none; not to be written to."""
    if not column.null_count():
        return column.to_numpy()
    if column.dtype == pl.Boolean:
        column = column.cast(pl.Int8)
    values: NDArray[Any] = column.to_arrow().fill_null(null).to_numpy(zero_copy_only=False)
    return values
