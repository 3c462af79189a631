"""The JSON records: jobs, progress, alerts and facilities as rows. They are few, so they go one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa

from schemas.alert import decode_alert
from schemas.errors import ConfigurationError, RejectedRecordError
from schemas.job import Job, Placed, Progress, decode_jobs, decode_progress
from schemas.message import Message
from schemas.place import Places
from schemas.printable import printable_bytes
from schemas.refused_batch import batch_refusal
from schemas.rejection import WHOLE, Refusal
from schemas.site_frames import SiteFrames
from sinks.lake.tables import BY_NAME

Row = dict[str, Any]


def read_jobs(messages: Sequence[Message], registry: Places | None) -> pa.Table:
    """Return job records as rows of `jobs`; what is refused is left out, the streams publish it."""
    return _rows("jobs", map(_of_job, decode_jobs(messages, registry).records))


def read_progress(messages: Sequence[Message]) -> pa.Table:
    """Return progress records as rows of `progress`; what is refused is left out, the streams publish it."""
    return _rows("progress", map(_of_job, decode_progress(messages).records))


def read_alerts(messages: Sequence[Message]) -> tuple[pa.Table, list[Refusal]]:
    """Return alert events as rows of `alerts`, and what is no alert."""
    rows: list[Row] = []
    refusals: list[Refusal] = []
    for message in messages:
        if refusal := batch_refusal(message):
            refusals.append(refusal)
            continue
        try:
            rows.append(_placed(message, 0, msgspec.structs.asdict(decode_alert(message))))
        except RejectedRecordError as error:
            refusals.append(_refusal(message, error))
    return _rows("alerts", rows), refusals


def _of_job(placed: Placed[Job] | Placed[Progress]) -> Row:
    return _placed(placed.message, placed.row, msgspec.structs.asdict(placed.record))


def read_facilities(messages: Sequence[Message]) -> tuple[pa.Table, list[Refusal]]:
    """Return facility versions as rows of `facility` (document = the whole JSON), and what is no facility.

    A message without a value withdraws its site: it is no version and no refusal.
    """
    rows: list[Row] = []
    refusals: list[Refusal] = []
    for message in messages:
        if refusal := batch_refusal(message):
            refusals.append(refusal)
            continue
        try:
            if message.value is not None:
                rows.append(_placed(message, 0, _facility(message, message.value)))
        except ConfigurationError as error:
            refusals.append(Refusal(message, WHOLE, "wrong_type", f"is not a facility: {error}"))
        except RejectedRecordError as error:
            refusals.append(_refusal(message, error))
    return _rows("facility", rows), refusals


def _facility(message: Message, value: bytes) -> Row:
    part = SiteFrames.from_json(value)
    if message.key != part.site.encode():
        said = f"its key is not its site {part.site!r}, by which the topic is compacted"
        raise RejectedRecordError("wrong_key", said, value=printable_bytes(message.key or b""))
    columns = {"site": part.site, "version": part.version, "effective_from": part.effective_from}
    return columns | {"document": value.decode()}


def _refusal(message: Message, error: RejectedRecordError) -> Refusal:
    said = str(error).removeprefix(f"{message.place}: ")
    return Refusal(message, WHOLE, error.reason, said, error.field, error.value)


def _placed(message: Message, row: int, columns: Row) -> Row:
    place = {"_partition": message.partition, "_offset": message.offset, "_row": row, "_appended": message.appended}
    return columns | place


def _rows(name: str, rows: Iterable[Row]) -> pa.Table:
    table = BY_NAME[name]
    return pa.Table.from_pylist([_plain(row) for row in rows], schema=table.arrow)


def _plain(value: Any) -> Any:
    """Return a value as pyarrow takes it: structs as dicts, times in UTC without a zone."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, msgspec.Struct):
        return _plain(msgspec.structs.asdict(value))
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
