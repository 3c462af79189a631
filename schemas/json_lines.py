"""JSON in place of Arrow: one object or JSON lines with a record's field names, paths in place of ids.

Each line is decoded for itself into a typed row, so that a bad line says exactly what is wrong with it
and never costs its neighbours. This is the easy way in, at about a hundredth of the native speed.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, NamedTuple

import msgspec
import polars as pl
import pyarrow as pa

from schemas.arrow import PLACE_COLUMNS, empty
from schemas.column import TIME, Column, Record
from schemas.errors import RejectedRecordError
from schemas.message import Message
from schemas.place import Places, path_error, unregistered_id
from schemas.printable import printable_bytes
from schemas.rejection import INT_LIMITS, WHOLE, Decoded, Refusal, allowed, refused_frame
from schemas.subject import SubjectKind
from schemas.time import parse_time

PLACES: dict[str, SubjectKind] = {"rack": SubjectKind.RACK, "node": SubjectKind.NODE, "meter": SubjectKind.METER}
"""The columns that JSON may give as a path."""

DEFAULTS: dict[str, int] = {"phase": 0}
"""Required columns that JSON may leave out, and what then stands: a meter's reading without a phase is its total."""

MAX_LINES = 100_000
"""More lines than this in one message are refused as a whole."""

_UNFINITE = re.compile(rb'"([A-Za-z_]{1,64})"\s*:\s*([-+]?(?:NaN|Infinity|nan|inf|Inf))\b')
_Flat = msgspec.json.Decoder(dict[str, str | int | float | None])
_Object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Line(NamedTuple):
    """One row as typed values in the record's column order, with its place and the name it was sent under."""

    message: Message
    row: int
    values: list[Any]
    name: str | None


def decode_json(record: Record, messages: Sequence[Message], places: Places, max_decoded_bytes: int) -> Decoded:
    """Decode JSON messages of one record.

    Frame out: the record's columns and PLACE_COLUMNS, in the order of messages and lines; `_row` is the
    line's number from 0, blank lines counted. Unregistered paths get a negative id and stand in `_name`. Pure.
    """
    rows: list[_Line] = []
    refusals: list[Refusal] = []
    for message in messages:
        for number, line in _lines(message, max_decoded_bytes, refusals):
            try:
                rows.append(_typed(record, message, number, line, places))
            except RejectedRecordError as error:
                refusals.append(Refusal(message, number, error.reason, str(error), error.field, error.value))
    return Decoded(_frame(record, rows), refused_frame(refusals))


def _lines(message: Message, max_decoded_bytes: int, refusals: list[Refusal]) -> Iterator[tuple[int, bytes]]:
    """Yield the numbered lines of a message; a message that has none, or too many, is added to `refusals`."""
    value = (message.value or b"").strip()
    lines = value.count(b"\n") + 1
    if not value:
        refusals.append(Refusal(message, WHOLE, "empty", "the message has no value; JSON is asked for"))
    elif len(value) > max_decoded_bytes or lines > MAX_LINES:
        size = f"{len(value)} bytes, {lines} lines"
        said = f"is too large: {size}; at most {max_decoded_bytes} bytes and {MAX_LINES} lines are allowed"
        refusals.append(Refusal(message, WHOLE, "too_large", said, value=size))
    elif b"\n" not in value or _is_one_object(value):
        yield 0, value
    else:
        numbered = enumerate(message.value.split(b"\n") if message.value else ())
        yield from ((number, line.strip()) for number, line in numbered if line.strip())


def _is_one_object(value: bytes) -> bool:
    """Tell whether several lines are one object, printed for the eye."""
    try:
        _Object.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _typed(record: Record, message: Message, number: int, line: bytes, places: Places) -> _Line:
    """Return one line as a typed row; RejectedRecordError says what is wrong with it."""
    try:
        row = _decoder(record).decode(line)
        flat = _Flat.decode(line)
    except RecursionError:
        raise RejectedRecordError(
            "not_json", "nests too deeply to be one flat JSON object", value=printable_bytes(line)
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _explained(record, line, error) from None
    quotes = 2 * (len(flat) + sum(type(value) is str for value in flat.values()))
    if line.count(b'"') != quotes:
        _refuse_twice(line)
    values = list(msgspec.structs.astuple(row))
    names = [column.name for column in record.columns]
    name = None
    for index, column in enumerate(record.columns):
        value = values[index]
        if column.dtype == TIME and value is not None:
            values[index] = parse_time(column.name, value)
        elif column.name in PLACES:
            values[index], unknown = _place(column.name, value, places)
            name = unknown or name
    _refuse_elsewhere(dict(zip(names, msgspec.structs.astuple(row), strict=True)))
    return _Line(message, number, values, name)


def _place(field: str, value: int | str, places: Places) -> tuple[int, str | None]:
    """Return the id of a place given as id or path, and the path where the registry does not know it."""
    kind = PLACES[field]
    if isinstance(value, int):
        if not -(2**31) <= value < 2**31:
            raise RejectedRecordError(
                "bad_path", f"{field} {value} is no id: 32 bits are allowed", field=field, value=str(value)
            )
        return value, None
    if wrong := path_error(kind, value):
        raise RejectedRecordError("bad_path", f"{field} {value[:200]!r} {wrong}", field=field, value=value)
    known = places.id_of(kind, value)
    return (known, None) if known is not None else (unregistered_id(value), value)


def _refuse_elsewhere(row: dict[str, Any]) -> None:
    """Raise where a node's path does not lie under the rack's path that stands beside it."""
    rack, node = row.get("rack"), row.get("node")
    if isinstance(rack, str) and isinstance(node, str) and not node.startswith(rack + "/"):
        said = f"node {node!r} does not lie in rack {rack!r}"
        raise RejectedRecordError("bad_path", said, field="node", value=node)


def _refuse_twice(line: bytes) -> None:
    """Raise where a field is given twice: which of the two was meant cannot be known."""
    pairs: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list)
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise RejectedRecordError("not_json", f"{key} is given twice", field=key, value=printable_bytes(line))
        seen.add(key)


def _explained(record: Record, line: bytes, error: Exception) -> RejectedRecordError:
    """Return what msgspec says as a reason, a field and a sentence."""
    text = str(error)
    shown = printable_bytes(line)
    names = [column.name for column in record.columns]
    if found := re.search(r"missing required field `(.*)`", text):
        field = found[1]
        return RejectedRecordError(
            "missing_field", f"{field} is missing; every reading needs it", field=field, value=shown
        )
    if found := re.search(r"unknown field `(.*)`", text, re.DOTALL):
        near = difflib.get_close_matches(found[1][:64], names, 1)
        hint = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(names)}"
        said = f"{found[1][:64]!r} is not a field of {record.name}; {hint}"
        return RejectedRecordError("unknown_field", said, field=near[0] if near else None, value=found[1])
    if found := re.search(r"at `\$\.([a-z_]+)", text):
        return _wrong_value(record.column(found[1]), line, text)
    if found := _UNFINITE.search(line):
        field, value = found[1].decode(), found[2].decode()
        known = field if field in names else None
        return RejectedRecordError(
            "not_a_number", f"{field} is {value}; a number or null is allowed", field=known, value=value
        )
    if "out of range" in text:
        return RejectedRecordError("out_of_range", "holds a number too large to be one", value=shown)
    said = f"is not one JSON object ({text})"
    return RejectedRecordError("not_json", said, value=shown)


def _wrong_value(column: Column, line: bytes, text: str) -> RejectedRecordError:
    """Return the refusal of one field whose value has the wrong type or does not fit its column."""
    value = _value_of(line, column.name)
    if "<=" in text or ">=" in text or "out of range" in text:
        return RejectedRecordError(
            "out_of_range", f"{column.name} is {value}; {allowed(column)}", field=column.name, value=value
        )
    kind = text.partition(" - at")[0].replace("`", "")
    return RejectedRecordError("wrong_type", f"{column.name} is {value}: {kind}", field=column.name, value=value)


def _value_of(line: bytes, field: str) -> str:
    """Return the text of one field's value as it stands in the line."""
    try:
        return printable_bytes(bytes(_Object.decode(line)[field]))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        return printable_bytes(line)


@cache
def _decoder(record: Record) -> msgspec.json.Decoder[Any]:
    """Return the decoder of one line: the record's columns as a struct without room for anything else."""
    fields = [_field(column) for column in record.columns]
    row = msgspec.defstruct(record.name.replace(".", "_"), fields, kw_only=True, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(row)


def _field(column: Column) -> tuple[str, Any] | tuple[str, Any, Any]:
    """Return one column as a field of the struct."""
    kind: Any = float
    if column.dtype == TIME or column.name in PLACES:
        kind = int | str
    elif column.dtype == pa.string():
        kind = str
    elif (limit := INT_LIMITS.get(column.dtype)) is not None:
        kind = Annotated[int, msgspec.Meta(ge=max(-limit, -(2**63)), le=min(limit - 1, 2**63 - 1))]
    if column.name in DEFAULTS:
        return (column.name, kind, DEFAULTS[column.name])
    return (column.name, kind) if column.is_required else (column.name, kind | None, None)


def _frame(record: Record, rows: list[_Line]) -> pl.DataFrame:
    """Return typed rows as a decoded frame."""
    if not rows:
        return empty(record)
    columns = zip(*(row.values for row in rows), strict=True)
    data = {
        column.name: pl.Series(column.name, list(values), pl.Int64).cast(pl.Datetime("us"))
        if column.dtype == TIME
        else pl.Series(column.name, list(values), record.polars[column.name])
        for column, values in zip(record.columns, columns, strict=True)
    }
    place = [(row.message.partition, row.message.offset, row.row, row.message.appended, row.name) for row in rows]
    numbers = PLACE_COLUMNS | {"_appended": pl.Int64}
    where = pl.DataFrame(place, schema=numbers, orient="row").cast({"_appended": pl.Datetime("us")})
    return pl.DataFrame(data).hstack(where)
