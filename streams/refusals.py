"""Refused rows as messages of telemetry.rejected.v1. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from schemas import arrow
from schemas.rejected import REJECTED

TOPIC = "telemetry.rejected.v1"
BYTES_A_MESSAGE = 1_000_000
ROW_BYTES = 200


def refusal_messages(refused: pl.DataFrame) -> Iterator[tuple[bytes, bytes, list[tuple[str, bytes]]]]:
    """Yield value, key (the source topic) and headers of each message; about BYTES_A_MESSAGE each at most.

    A refusal is identified by its place (topic, partition, offset, row), so sending it again repeats it.
    """
    if refused.is_empty():
        return
    texts = (pl.col(name).str.len_bytes().fill_null(0) for name in ("message", "value"))
    size = pl.col("raw").bin.size().fill_null(0).cast(pl.Int64) + pl.sum_horizontal(texts) + ROW_BYTES
    number = (size.cum_sum() // BYTES_A_MESSAGE).over("topic").alias("_number")
    for (topic, _), rows in refused.with_columns(number).group_by("topic", "_number", maintain_order=True):
        yield arrow.encode(REJECTED, rows.select(REJECTED.polars.keys())), str(topic).encode(), arrow.headers(REJECTED)
