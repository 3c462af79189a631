"""The answer of a query as a table for a person, or as CSV, JSON, Arrow or Parquet for a program."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import BinaryIO

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

MISSING = "—"
"""How a table shows a null; zero is `0`."""

# C0 and C1 controls and the marks that turn or hide text: a name in the data must not move the cursor.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")

Value = object


def printable(value: Value) -> str:
    """Return a value as text on one line, without control characters; a null as a dash."""
    if value is None:
        return MISSING
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds").replace(".000", "")
    text = json.dumps(plain(value), ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def plain(value: Value) -> Value:
    """Return a value as JSON can carry it: times as ISO 8601 in UTC, bytes as hex, NaN and infinities as null."""
    if isinstance(value, datetime):
        return value.isoformat().removesuffix("+00:00") + "Z"
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):  # sums of integers are HUGEINT, which travels as a decimal without places
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else _text(value)


def _text(value: Value) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def rows(answer: pa.RecordBatchReader) -> Iterator[tuple[Value, ...]]:
    """Yield the rows of an answer."""
    for batch in answer:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def write_table(answer: pa.RecordBatchReader, out: BinaryIO) -> None:
    """Write an aligned table, as wide as it needs, numbers to the right."""
    head = answer.schema.names
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    lines = list(rows(answer))
    for index, name in enumerate(head):
        is_number = any(isinstance(line[index], int | float | Decimal) for line in lines[:100])
        table.add_column(Text(printable(name)), justify="right" if is_number else "left", no_wrap=True)
    for line in lines:
        table.add_row(*(Text(printable(value)) for value in line))
    console = Console(width=1_000_000, color_system=None, highlight=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(table)
    out.write("".join(text.rstrip() + "\n" for text in capture.get().splitlines()).encode())


def write_csv(answer: pa.RecordBatchReader, out: BinaryIO) -> None:
    """Write a head line and a line a row; a null is an empty field."""

    class Lines:
        """Pass text on as UTF-8."""

        def write(self, text: str) -> int:
            return out.write(text.encode())

    writer = csv.writer(Lines(), lineterminator="\n")
    writer.writerow(answer.schema.names)
    writer.writerows([_cell(value) for value in line] for line in rows(answer))


def _cell(value: Value) -> Value:
    carried = plain(value)
    return json.dumps(carried, ensure_ascii=False) if isinstance(carried, list | dict) else carried


def write_json(answer: pa.RecordBatchReader, out: BinaryIO) -> None:
    """Write one array, an object a line."""
    head = answer.schema.names
    objects = (
        json.dumps(dict(zip(head, map(plain, line), strict=True)), ensure_ascii=False, allow_nan=False)
        for line in rows(answer)
    )
    out.write(b"[")
    out.writelines(_separated(objects))
    out.write(b"\n]\n")


def _separated(texts: Iterable[str]) -> Iterator[bytes]:
    separator = "\n"
    for text in texts:
        yield (separator + text).encode()
        separator = ",\n"


def write_arrow(answer: pa.RecordBatchReader, out: BinaryIO) -> None:
    """Write one Arrow IPC stream."""
    with pa.ipc.new_stream(out, answer.schema) as stream:
        for batch in answer:
            stream.write_batch(batch)


def write_parquet(answer: pa.RecordBatchReader, out: BinaryIO) -> None:
    """Write one Parquet file, zstd."""
    with pq.ParquetWriter(out, answer.schema, compression="zstd") as writer:
        for batch in answer:
            writer.write_batch(batch)


WRITERS: dict[str, Callable[[pa.RecordBatchReader, BinaryIO], None]] = {
    "table": write_table,
    "csv": write_csv,
    "json": write_json,
    "arrow": write_arrow,
    "parquet": write_parquet,
}
"""Every format by its name on the command line."""

BINARY = frozenset({"arrow", "parquet"})
"""Formats that no terminal should be shown."""
