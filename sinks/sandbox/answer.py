"""An answer as bytes, cut where it is long enough: rows of a reader into one of the four formats."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import BinaryIO, Protocol

import msgspec
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from sinks.sandbox.limits import Limits
from sinks.sandbox.order import Format
from sinks.sql.output import Value, plain, rows

ROWS_AT_ONCE = 1_000
TRUNCATED = b"wattline.truncated"
"""The key of what Parquet and Arrow say of themselves: `true` or `false`."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Cut:
    """Pass on the batches of an answer until it has as many rows or bytes as it may have.

    `written` tells how many bytes the text of it has by now: a format may be longer than the columns.
    """

    def __init__(self, reader: pa.RecordBatchReader, limits: Limits, written: Callable[[], int] = lambda: 0) -> None:
        self.schema: pa.Schema = reader.schema
        self.rows = 0
        self.truncated = False
        self._reader = reader
        self._limits = limits
        self._written = written
        self._bytes = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._reader:
            for part in _parts(batch, self._limits.answer_bytes):
                room = self._room(part)
                if room < part.num_rows:
                    self.truncated = True
                if room:
                    yield self._counted(part.slice(0, room))
                if self.truncated:
                    return

    def _room(self, part: pa.RecordBatch) -> int:
        """Return how many rows of a part still fit."""
        left = self._limits.answer_bytes - max(self._bytes, self._written())
        fitting = part.num_rows if part.nbytes <= left else max(0, left * part.num_rows // part.nbytes)
        return min(fitting, self._limits.rows - self.rows)

    def _counted(self, part: pa.RecordBatch) -> pa.RecordBatch:
        self.rows += part.num_rows
        self._bytes += part.nbytes
        return part


def _parts(batch: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Cut a batch into parts of which none is a large share of an answer."""
    at_once = max(1, min(ROWS_AT_ONCE, batch.num_rows * most_bytes // 16 // max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, at_once):
        yield batch.slice(start, at_once)


Said = Callable[[], dict[str, object]]


class Counting(Protocol):
    """Describe what an answer is written to."""

    written: int

    def write(self, value: bytes) -> int:
        """Take bytes."""


def write(reader: pa.RecordBatchReader, form: Format, out: Counting, limits: Limits, said: Said) -> Cut:
    """Write an answer and return what was cut of it; `said` is asked at the end what JSON says beside the rows."""
    cut = Cut(reader, limits, lambda: out.written)
    _WRITERS[form](cut, out, said)
    return cut


def write_json(cut: Cut, out: Counting, said: Said) -> None:
    """Write one object: columns with their types, rows as lists, whether rows are missing, how long it took."""
    columns = [{"name": field.name, "type": str(field.type)} for field in cut.schema]
    out.write(b'{"columns":' + msgspec.json.encode(columns) + b',"rows":[')
    separator = b"\n"
    for batch in cut:
        out.write(separator + b",\n".join(map(msgspec.json.encode, zip(*map(_carried, batch.columns), strict=True))))
        separator = b",\n"
    after = {"row_count": cut.rows, "truncated": cut.truncated, **said()}
    out.write(b"\n]," + msgspec.json.encode(after)[1:] + b"\n")


def _carried(column: pa.Array) -> list[Value]:
    """Return a column's values as JSON carries them; NaN and infinities become null in the encoder."""
    values: list[Value] = column.to_pylist()
    return values if _is_plain(column.type) else [plain(value) for value in values]


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    return any(told(kind) for told in (types.is_integer, types.is_floating, types.is_string, types.is_boolean))


def write_csv(cut: Cut, out: Counting, _: Said) -> None:
    """Write a head line and a line a row; no cell is a formula to a spreadsheet, a null is an empty field."""

    class Lines:
        """Pass text on as UTF-8."""

        def write(self, text: str) -> int:
            return out.write(text.encode("utf-8", "replace"))

    # With a bare \n the csv module leaves a \r in a value unquoted: a row of its own to a spreadsheet.
    writer = csv.writer(Lines(), lineterminator="\r\n")
    writer.writerow([harmless(name) for name in cut.schema.names])
    for batch in cut:
        writer.writerows([cell(value) for value in row] for row in rows([batch]))


def cell(value: Value) -> Value:
    """Return a value as a field of CSV."""
    carried = plain(value)
    if isinstance(carried, list | dict):
        return harmless(json.dumps(carried, ensure_ascii=False))
    return harmless(carried) if isinstance(carried, str) and not isinstance(value, Decimal) else carried


def harmless(text: str) -> str:
    """Return text with an apostrophe before it where a spreadsheet would run it; a number stays one."""
    return f"'{text}" if text.startswith(_STARTS_A_FORMULA) and not _NUMBER.fullmatch(text) else text


def write_arrow(cut: Cut, out: Counting, _: Said) -> None:
    """Write one Arrow IPC stream whose schema says whether rows are missing."""
    batches = list(cut)
    schema = _telling(cut)
    with pa.ipc.new_stream(_binary(out), schema) as stream:
        for batch in batches:
            stream.write_batch(batch.replace_schema_metadata(schema.metadata))


def write_parquet(cut: Cut, out: Counting, _: Said) -> None:
    """Write one Parquet file, zstd, whose footer says whether rows are missing."""
    whole = pa.Table.from_batches(list(cut), cut.schema).replace_schema_metadata(_telling(cut).metadata)
    pq.write_table(whole, _binary(out), compression="zstd")


def _telling(cut: Cut) -> pa.Schema:
    return cut.schema.with_metadata({TRUNCATED: b"true" if cut.truncated else b"false"})


def _binary(out: Counting) -> BinaryIO:
    return pa.PythonFile(out, mode="w")


Writer = Callable[[Cut, Counting, Said], None]
_WRITERS: dict[Format, Writer] = {
    "json": write_json,
    "csv": write_csv,
    "arrow": write_arrow,
    "parquet": write_parquet,
}
