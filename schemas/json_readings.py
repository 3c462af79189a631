"""Readings in JSON: a record's field names, paths in place of ids; the easy way in, for kcat and any collector.

Each line is decoded for itself into a typed row, so that a bad line says exactly what is wrong with it and
never costs its neighbours. It costs about a hundred times what a native row does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, NamedTuple

import msgspec
import polars as pl
import pyarrow as pa

from schemas.arrow import PLACE_COLUMNS, empty
from schemas.column import TIME, Column, Record
from schemas.errors import RejectedRecordError
from schemas.json_lines import explained, numbered_lines, refuse_twice
from schemas.message import Message
from schemas.place import PLACE_KINDS, Places, id_of_place
from schemas.rejection import INT_LIMITS, Decoded, Refusal, allowed, refused_frame
from schemas.subject import SubjectKind
from schemas.time import parse_time

DEFAULTS: dict[str, int] = {"phase": 0}
"""Required columns that JSON may leave out: a meter's reading without a phase is its total."""

_MOST_FLOAT32 = 3.4028234663852886e38
_FLAT = msgspec.json.Decoder(dict[str, str | int | float | None])


class _Line(NamedTuple):
    """One row as typed values in the record's column order, with its place and the path that is not registered."""

    message: Message
    row: int
    values: list[Any]
    name: str | None


def decode_readings(record: Record, messages: Sequence[Message], places: Places, max_decoded_bytes: int) -> Decoded:
    """Decode JSON messages of one record.

    Frame out: the record's columns and PLACE_COLUMNS, in the order of messages and lines; `_row` is the
    line's number from 0, blank lines counted. Unregistered paths get a negative id and stand in `_name`. Pure.
    """
    rows: list[_Line] = []
    refusals: list[Refusal] = []
    for message in messages:
        for number, line in numbered_lines(message, max_decoded_bytes, refusals):
            try:
                rows.append(_typed(record, message, number, line, places))
            except RejectedRecordError as error:
                refusals.append(Refusal(message, number, error.reason, str(error), error.field, error.value))
    return Decoded(_frame(record, rows), refused_frame(refusals))


def _typed(record: Record, message: Message, number: int, line: bytes, places: Places) -> _Line:
    """Return one line as a typed row; RejectedRecordError says what is wrong with it."""
    sent = _decoded(record, line)
    _refuse_elsewhere(sent, places)
    values: list[Any] = []
    name = None
    for column, value in zip(record.columns, msgspec.structs.astuple(sent), strict=True):
        if column.dtype == TIME and value is not None:
            values.append(parse_time(column.name, value))
        elif column.name in PLACE_KINDS:
            place, unknown = id_of_place(column.name, PLACE_KINDS[column.name], value, places)
            values.append(place)
            name = unknown or name
        else:
            values.append(value)
    return _Line(message, number, values, name)


def _decoded(record: Record, line: bytes) -> Any:
    """Return one line as the record's struct; RejectedRecordError where it is anything else."""
    try:
        sent = _decoder(record).decode(line)
        flat = _FLAT.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _explained(record, line, error) from None
    # The quotes of distinct keys and of string values are all there are, unless a key came twice or was escaped.
    if line.count(b'"') != 2 * (len(flat) + sum(type(value) is str for value in flat.values())):
        refuse_twice(line)
    return sent


def _explained(record: Record, line: bytes, error: Exception) -> RejectedRecordError:
    """Return the decoder's complaint with the bounds of the record's own column where it is about a range."""
    found = explained([column.name for column in record.columns], line, error)
    if found.reason != "out_of_range" or found.field not in record.polars:
        return found
    said = f"{found.field} is {found.value}; {allowed(record.column(found.field))}"
    return RejectedRecordError("out_of_range", said, field=found.field, value=found.value)


def _refuse_elsewhere(sent: Any, places: Places) -> None:
    """Raise where a node's path does not lie in the rack that stands beside it."""
    rack, node = getattr(sent, "rack", None), getattr(sent, "node", None)
    if isinstance(rack, int) and isinstance(node, str):
        rack = places.path_of(SubjectKind.RACK, rack)
    if isinstance(rack, str) and isinstance(node, str) and not node.startswith(rack + "/"):
        raise RejectedRecordError(
            "bad_path", f"node {node[:200]!r} does not lie in rack {rack[:200]!r}", field="node", value=node
        )


@cache
def _decoder(record: Record) -> msgspec.json.Decoder[Any]:
    """Return the decoder of one line: the record's columns as a struct without room for anything else."""
    fields = [_field(column) for column in record.columns]
    row = msgspec.defstruct(record.name.replace(".", "_"), fields, kw_only=True, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(row)


def _field(column: Column) -> tuple[str, Any] | tuple[str, Any, Any]:
    """Return one column as a field of the struct."""
    kind: Any = float
    if column.dtype == TIME or column.name in PLACE_KINDS:
        kind = int | str
    elif column.dtype == pa.string():
        kind = str
    elif column.dtype == pa.float32():
        kind = Annotated[float, msgspec.Meta(ge=-_MOST_FLOAT32, le=_MOST_FLOAT32)]
    elif (limit := INT_LIMITS.get(column.dtype)) is not None:
        kind = Annotated[int, msgspec.Meta(ge=-limit, le=limit - 1)]
    if column.name in DEFAULTS:
        return (column.name, kind, DEFAULTS[column.name])
    return (column.name, kind) if column.is_required else (column.name, kind | None, None)


def _frame(record: Record, rows: list[_Line]) -> pl.DataFrame:
    """Return typed rows as a decoded frame."""
    if not rows:
        return empty(record)
    columns = zip(*(row.values for row in rows), strict=True)
    series = [
        pl.Series(column.name, list(values), pl.Int64).cast(pl.Datetime("us"))
        if column.dtype == TIME
        else pl.Series(column.name, list(values), record.polars[column.name])
        for column, values in zip(record.columns, columns, strict=True)
    ]
    place = [(row.message.partition, row.message.offset, row.row, row.message.appended, row.name) for row in rows]
    where = pl.DataFrame(place, schema=PLACE_COLUMNS | {"_appended": pl.Int64}, orient="row")
    return pl.DataFrame(series).hstack(where.cast({"_appended": pl.Datetime("us")}))
