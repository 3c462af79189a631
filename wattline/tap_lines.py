"""One message of any topic as lines for a person or as JSON: decoded where we have its format, else summed up.

What others wrote never reaches the terminal raw: control, bidi and invisible characters are escaped.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl

from schemas import job_partial, partial
from schemas.column import Record
from schemas.decode import decode
from schemas.errors import RejectedRecordError
from schemas.job import decode_jobs, decode_progress
from schemas.message import Message
from schemas.place import PLACE_KINDS
from schemas.printable import printable, printable_bytes
from schemas.refused_batch import batch_refusal
from schemas.registry import Registry
from schemas.subject import SubjectKind
from schemas.time import time_as_text
from schemas.topics import BY_NAME

ROWS_SHOWN = 5
"""How many rows of a message the text shows; the JSON shows all."""

MOST_EXPANDED = 16_777_216
_RECORDS = {"telemetry.jobs.v1": decode_jobs, "telemetry.progress.v1": lambda messages, _: decode_progress(messages)}


def as_json(message: Message, registry: Registry | None) -> Iterator[str]:
    """Yield one JSON object for each row of a message, or for the message itself where it has no rows."""
    place = {"_topic": message.topic, "_partition": message.partition, "_offset": message.offset}
    place |= {"_appended": _time(message.appended), "_key": _key(message)}
    for row in read(message, registry):
        yield printable(json.dumps(place | row, ensure_ascii=False, default=str))


def as_text(message: Message, registry: Registry | None) -> Iterator[str]:
    """Yield a line that says where a message lies, and its first rows below it."""
    rows = list(read(message, registry))
    key = "" if message.key is None else f" key={_key(message)}"
    yield f"{message.place} {_time(message.appended)}{key} {len(message.value or b'')} bytes"
    for row in rows[:ROWS_SHOWN]:
        yield "  " + " ".join(_pair(name, value) for name, value in row.items() if value is not None)
    if len(rows) > ROWS_SHOWN:
        yield f"  … {len(rows) - ROWS_SHOWN} more"


def read(message: Message, registry: Registry | None) -> list[dict[str, Any]]:
    """Return what a message carries, a dictionary a row; a refusal where it is bad, a summary where it is opaque."""
    if refusal := batch_refusal(message):
        return [{"_refused": refusal.reason, "_said": refusal.said}]
    if message.value is None:
        return [{"_tombstone": True}]
    entry = BY_NAME.get(message.topic)
    if message.topic == "windows.rack.v1":
        return _read_partial(message, registry)
    if message.topic in _RECORDS:
        records, refused = _RECORDS[message.topic]([message], registry)
        return [msgspec.to_builtins(placed.record) for placed in records] + _refusals(refused)
    if entry is not None and entry.record is not None:
        decoded = decode(message.topic, [message], registry)
        return _rows(entry.record, decoded.frame, registry) + _refusals(decoded.refused)
    return [_opaque(message.value)]


def _read_partial(message: Message, registry: Registry | None) -> list[dict[str, Any]]:
    try:
        if job_partial.is_job_partial(message):
            return _rows(job_partial.JOB_PARTIAL, job_partial.decode(message), registry)
        told = partial.decode(message)
    except RejectedRecordError as error:
        return [{"_refused": error.reason, "_said": str(error)}]
    rows = _rows(told.envelope.record, told.rows, registry)
    return [{"_partial": msgspec.to_builtins(told.envelope)}, *rows]


def _rows(record: Record, frame: pl.DataFrame, registry: Registry | None) -> list[dict[str, Any]]:
    """Return decoded rows with paths in place of ids where the registry knows them, times as text."""
    exact = frame.with_columns(
        # A float32 as the shortest number that means it: 700.1, not 700.0999755859375.
        *(pl.col(name).cast(pl.String).cast(pl.Float64) for name in record.polars if record.polars[name] == pl.Float32),
        *(time_as_text(name).alias(name) for name in record.polars if record.polars[name] == pl.Datetime),
    )
    return [_row(record, row, registry) for row in exact.drop("_appended", strict=False).iter_rows(named=True)]


def _row(record: Record, row: dict[str, Any], registry: Registry | None) -> dict[str, Any]:
    named = {name: _plain(row[name]) for name in record.polars}
    unregistered = row.get("_name")
    for name, kind in PLACE_KINDS.items():
        if (place := named.get(name)) is not None:
            path = registry.path_of(kind, place) if registry is not None and place >= 0 else None
            named[name] = path or (unregistered if place < 0 and name != "rack" and unregistered else place)
    if "subject_kind" in named:
        named |= _subject(named, registry)
    return named


def _subject(row: dict[str, Any], registry: Registry | None) -> dict[str, Any]:
    try:
        kind = SubjectKind(row["subject_kind"])
    except ValueError:
        return {}
    path = registry.path_of(kind, row["subject"]) if registry is not None else None
    return {"subject_kind": kind.name.lower(), "subject": path or row["subject"]}


def _refusals(refused: pl.DataFrame) -> list[dict[str, Any]]:
    return [{"_refused": row["reason"], "_said": row["message"]} for row in refused.iter_rows(named=True)]


def _opaque(value: bytes) -> dict[str, Any]:
    """Return JSON as it is, and of anything else its kind, its size and how it begins."""
    try:
        read = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {"_bytes": len(value), "_kind": _kind(value), "_begins": printable_bytes(value, 80)}
    return read if isinstance(read, dict) else {"_json": read}


def _kind(value: bytes) -> str:
    if value.startswith(b"\xff\xff\xff\xff"):
        return "arrow"
    if value[:1] == b"\x78":
        expanding = zlib.decompressobj()
        try:
            size = len(expanding.decompress(value, MOST_EXPANDED))
        except zlib.error:
            return "unknown"
        return f"zlib of {size} bytes" if expanding.eof else f"zlib of more than {size} bytes"
    return "unknown"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return printable_bytes(value)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _pair(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"{printable(name, 64)}={printable(text, 1000)}"


def _key(message: Message) -> str | None:
    return None if message.key is None else printable_bytes(message.key)


def _time(micros: int) -> str:
    try:
        return datetime.fromtimestamp(micros / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    except (OverflowError, ValueError, OSError):
        return f"{micros} µs"
