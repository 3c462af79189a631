"""Arrow messages unlike our own writers': read slowly, cast where nothing is lost, else refused."""

from __future__ import annotations

import polars as pl

from schemas.column import Record
from schemas.message import Message
from schemas.printable import printable_bytes
from schemas.rejection import WHOLE, Refusal


def read_foreign(record: Record, message: Message, max_decoded_bytes: int) -> tuple[pl.DataFrame, list[Refusal]]:
    """Return the rows of one message with `_row`, and what is refused of it."""
    value = message.value
    if not value:
        return record.empty(), [Refusal(message, WHOLE, "empty", "the message has no value")]
    try:
        frame = pl.read_ipc_stream(value).select(record.polars.keys()).match_to_schema(record.polars)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        said = "cannot be read as an Arrow IPC stream"
        return record.empty(), [Refusal(message, WHOLE, "not_arrow", said, value=printable_bytes(value))]
    return frame.with_columns(_row=pl.int_range(pl.len(), dtype=pl.Int32)), []
