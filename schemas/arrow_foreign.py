"""Arrow messages unlike our own writers': read slowly, cast where nothing is lost, else refused in words.

Other writers differ in metadata, in the order of columns, in leaving out what they do not measure, in wider
integers and larger text types, in the unit or zone of time stamps, in compression, in several batches.
"""

from __future__ import annotations

import difflib
import struct

import polars as pl
import pyarrow as pa

from schemas.arrow_stream import expanded_length
from schemas.column import TIME, Column, Record
from schemas.message import Message
from schemas.printable import printable, printable_bytes
from schemas.rejection import WHOLE, Refusal, allowed

_MOST_MILLISECONDS = (2**63 - 1) // 1000


_NO_ROWS = pl.DataFrame()


class _UnreadableError(Exception):
    """Carry the reason why a whole message is refused."""

    def __init__(self, reason: str, said: str, field: str | None = None, value: str | None = None) -> None:
        super().__init__(said)
        self.reason, self.field, self.value = reason, field, value


def read_foreign(record: Record, message: Message, max_decoded_bytes: int) -> tuple[pl.DataFrame, list[Refusal]]:
    """Return the rows of one message with `_row` (i32), and what is refused of it: rows, or the message (WHOLE).

    Frame out: the record's columns, one that the message lacks as null; no columns where the message is refused.
    Nothing in a message raises. Pure.
    """
    try:
        sent = _read(record, message, max_decoded_bytes)
    except _UnreadableError as error:
        return _NO_ROWS, [Refusal(message, WHOLE, error.reason, str(error), error.field, error.value)]
    return _cast(record, message, sent.with_columns(_row=pl.int_range(pl.len(), dtype=pl.Int32)))


def _read(record: Record, message: Message, max_decoded_bytes: int) -> pl.DataFrame:
    """Return the message's columns in the types in which they came; _UnreadableError where that cannot be."""
    value = message.value
    if not value:
        raise _UnreadableError("empty", "the message has no value; an Arrow stream is asked for")
    _require_size(len(value), max_decoded_bytes)
    sent = message.header("schema")
    if sent is not None and sent != record.schema_header.encode():
        shown = printable_bytes(sent)
        said = f"its header schema is {shown}; the topic carries {record.schema_header}"
        raise _UnreadableError("wrong_schema", said, value=shown)
    try:
        _require_schema(record, pa.ipc.open_stream(value).schema)
        _require_size(expanded_length(value), max_decoded_bytes)
        return pl.read_ipc_stream(value)
    except (_UnreadableError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # Bytes of others raise whatever they like, from OverflowError to the PanicException of polars,
        # which derives from BaseException (traps.md 23).
        raise _not_arrow(value, error) from None


def _not_arrow(value: bytes, error: BaseException) -> _UnreadableError:
    said = (
        "an offset leads out of it" if isinstance(error, struct.error | IndexError) else str(error).partition("\n")[0]
    )
    if value.lstrip()[:1] in (b"{", b"["):
        said = "it looks like JSON: send the header content-type: application/json"
    return _UnreadableError("not_arrow", f"is no whole Arrow stream: {said}", value=printable_bytes(value))


def _require_size(size: int, max_decoded_bytes: int) -> None:
    if size > max_decoded_bytes:
        said = f"is too large: {size} bytes once decoded; at most {max_decoded_bytes} are allowed"
        raise _UnreadableError("too_large", said, value=f"{size} bytes")


def _require_schema(record: Record, schema: pa.Schema) -> None:
    """Raise where columns are unknown, double, missing though needed, or of a type that cannot be cast."""
    names = [column.name for column in record.columns]
    sent = dict(zip(schema.names, schema.types, strict=True))
    for name in schema.names:
        if name not in names:
            near = difflib.get_close_matches(name[:64], names, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
            said = f"column {printable(name, 64)!r} is not one of {record.name}; {hint}"
            raise _UnreadableError("wrong_schema", said, printable(name, 64))
    if len(sent) < len(schema.names):
        twice = next(name for name in sent if schema.names.count(name) > 1)
        raise _UnreadableError("wrong_schema", f"column {twice} is there {schema.names.count(twice)} times", twice)
    for column in record.columns:
        if column.name in sent:
            _require_type(column, sent[column.name])
        elif column.is_required:
            said = f"column {column.name} ({column.dtype}) is missing; every reading needs it"
            raise _UnreadableError("wrong_schema", said, column.name)


def _require_type(column: Column, sent: pa.DataType) -> None:
    if not _is_castable(sent, column.dtype) and not (pa.types.is_null(sent) and not column.is_required):
        said = f"column {column.name} is {printable(str(sent), 64)}; {column.dtype} is asked for"
        raise _UnreadableError("wrong_schema", said, column.name, printable(str(sent), 64))


def _is_castable(sent: pa.DataType, asked: pa.DataType) -> bool:
    """Tell whether values of one type may be values of the other; rows whose own value is lost are refused later."""
    types = pa.types
    if types.is_timestamp(asked):
        return bool(types.is_timestamp(sent))
    if types.is_integer(asked):
        return bool(types.is_integer(sent))
    if types.is_floating(asked):
        return bool(types.is_float32(sent) or types.is_float64(sent) or types.is_integer(sent))
    if types.is_string(asked):
        return bool(types.is_string(sent) or types.is_large_string(sent) or types.is_string_view(sent))
    if types.is_binary(asked):
        return bool(types.is_binary(sent) or types.is_large_binary(sent) or types.is_binary_view(sent))
    return bool(sent == asked)


def _cast(record: Record, message: Message, sent: pl.DataFrame) -> tuple[pl.DataFrame, list[Refusal]]:
    """Return the rows in the record's types, and a refusal for each row of which a value would be lost."""
    types = dict(sent.schema)
    refusals: list[Refusal] = []
    for column in record.columns:
        dtype = record.polars[column.name]
        if types.get(column.name, pl.Null) not in (dtype, pl.Null):
            cast, is_kept = _cast_column(column, sent[column.name], dtype)
            refusals += _lost(message, column, sent.filter(~is_kept))
            sent = sent.with_columns(cast.alias(column.name)).filter(is_kept)
    columns = [
        pl.lit(None, dtype).alias(name) if types.get(name, pl.Null) == pl.Null else pl.col(name)
        for name, dtype in record.polars.items()
    ]
    return sent.select(*columns, "_row"), refusals


def _cast_column(
    column: Column, sent: pl.Series, dtype: pl.DataType | type[pl.DataType]
) -> tuple[pl.Series, pl.Series]:
    """Return a column in another type, and per row whether its value is still the same.

    A number in float64 for a float32 column is rounded to the nearest, as the record's precision asks.
    """
    if column.dtype == TIME:
        return _cast_time(sent)
    cast = sent.cast(dtype, strict=False)
    if sent.dtype.is_float():
        return cast, cast.is_finite().eq_missing(sent.is_finite())
    return cast, cast.cast(sent.dtype, strict=False).eq_missing(sent)


def _cast_time(sent: pl.Series) -> tuple[pl.Series, pl.Series]:
    ticks = sent.to_physical()
    unit = getattr(sent.dtype, "time_unit", "us")
    if unit == "ns":
        micros, is_kept = ticks // 1000, ticks % 1000 == 0
    elif unit == "ms":
        is_kept = ticks.is_between(-_MOST_MILLISECONDS, _MOST_MILLISECONDS)
        micros = ticks.clip(-_MOST_MILLISECONDS, _MOST_MILLISECONDS) * 1000
    else:
        micros, is_kept = ticks, ticks.is_not_null()
    return micros.cast(pl.Datetime("us")), is_kept.fill_null(True)


def _lost(message: Message, column: Column, rows: pl.DataFrame) -> list[Refusal]:
    """Return the refusals of rows whose value the column's own type does not hold."""
    sent = rows[column.name]
    if column.dtype == TIME:
        unit = getattr(sent.dtype, "time_unit", "us")
        asked = "whole microseconds in 64 bits are kept: round it at the source"
        said = [(f"{tick} {unit} since 1970", "bad_time", asked) for tick in sent.to_physical()]
    else:
        asked = f"which {column.dtype} does not hold; {allowed(column)}"
        said = [(str(value), "out_of_range", asked) for value in sent]
    return [
        Refusal(message, row, reason, f"{column.name} is {value}, {why}", column.name, value)
        for row, (value, reason, why) in zip(rows["_row"], said, strict=True)
    ]
