"""The making of refusals: one row of REJECTED a refused row or message, in words for a person."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from schemas.column import Column
from schemas.message import Message
from schemas.printable import SHOWN_CHARACTERS, printable
from schemas.rejected import REASONS, REJECTED

ADMISSION_VERSION = 1
"""Version of the rules of decoding and admission; it is in every refusal and in every window."""

RAW_BYTES = 65_536
"""How much of a refused message is kept with its first refused row."""

INT_LIMITS = {pa.int8(): 2**7, pa.int16(): 2**15, pa.int32(): 2**31, pa.int64(): 2**63}
"""The first magnitude that an integer type does not hold."""

WHOLE = -1
"""The row number of a refusal that concerns a whole message."""


class Decoded(NamedTuple):
    """Carry the rows that could be read, and the refusals (frame of REJECTED) of what could not."""

    frame: pl.DataFrame
    refused: pl.DataFrame


class Refusal(NamedTuple):
    """Say why one row of one message is refused; `row` is WHOLE for the message itself."""

    message: Message
    row: int
    reason: str
    said: str
    field: str | None = None
    value: str | None = None

    def columns(self) -> tuple[Any, ...]:
        """Return the values of REJECTED's columns, without the raw bytes."""
        source = self.message
        where = source.place if self.row == WHOLE else f"{source.place} row {self.row}"
        value = None if self.value is None else printable(self.value, SHOWN_CHARACTERS)
        sentence = f"{where}: {printable(self.said.removeprefix(f'{source.place}: '), 1000)}"
        place = (source.topic, source.partition, source.offset, self.row)
        return (*place, self.reason, self.field, value, sentence, source.appended, ADMISSION_VERSION, None)


def refused_frame(refusals: Sequence[Refusal]) -> pl.DataFrame:
    """Return the refusals as a frame of REJECTED, in the order given, without raw bytes."""
    assert all(refusal.reason in REASONS for refusal in refusals)
    rows = [refusal.columns() for refusal in refusals]
    return pl.DataFrame(rows, schema=REJECTED.polars, orient="row") if rows else REJECTED.empty()


def with_raw(refused: Sequence[pl.DataFrame], messages: Iterable[Message]) -> pl.DataFrame:
    """Return all refusals by (topic, partition, offset, row), each message's bytes once, on its first refused row.

    `refused` are frames of REJECTED about `messages`; of a row that is refused twice the first stands.
    At most RAW_BYTES a message are kept. Pure.
    """
    frame = pl.concat(refused) if refused else REJECTED.empty()
    if frame.is_empty():
        return frame
    place = ["topic", "partition", "offset"]
    frame = frame.unique([*place, "row"], keep="first", maintain_order=True).sort([*place, "row"])
    bodies = {(m.topic, m.partition, m.offset): m.value for m in messages}
    # Made of a list and not by a join or a mask: with those a null keeps bytes behind it, and polars writes them.
    raw: list[bytes | None] = [None] * frame.height
    firsts = frame.with_row_index().unique(place, keep="first", maintain_order=True)
    for index, *at in firsts.select("index", *place).iter_rows():
        body = bodies.get((at[0], at[1], at[2]))
        raw[index] = None if body is None else body[:RAW_BYTES]
    return frame.with_columns(raw=pl.Series(raw, dtype=pl.Binary))


def allowed(column: Column) -> str:
    """Say which values a column allows: its own bounds, or those of its type."""
    limit = INT_LIMITS.get(column.dtype)
    low = column.low if column.low is not None else (-limit if limit else -math.inf)
    high = column.high if column.high is not None else (limit - 1 if limit else math.inf)
    unit = f" {column.unit}" if column.unit not in ("", "1") else ""
    return f"allowed is {_plain(low)} to {_plain(high)}{unit}"


def _plain(number: float) -> str:
    return str(int(number)) if math.isfinite(number) and number == int(number) else str(number)
