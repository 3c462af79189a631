"""Messages to frames, whichever format they came in: Arrow by its content type, else JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from schemas import arrow
from schemas.gpu import GPU
from schemas.json_readings import decode_readings
from schemas.message import Message
from schemas.meter import METER
from schemas.place import NoPlaces, Places
from schemas.printable import printable_bytes
from schemas.refused_batch import batch_refusal
from schemas.rejection import WHOLE, Decoded, Refusal, refused_frame, with_raw
from schemas.topics import BY_NAME

JSON_TYPES = frozenset({b"", b"application/json", b"application/x-ndjson", b"application/jsonl"})
"""Content types that are read as JSON; no header at all means JSON too."""

READINGS = frozenset({GPU.name, METER.name})
"""Records of whose messages none may lack rows: the lake knows a message by its rows or its refusals."""


class Registry(Places, Protocol):
    """Know paths and the levels of meters; schemas.registry.Registry does."""

    @property
    def meters(self) -> pl.DataFrame:
        """Return (meter, level, …), one row a meter."""


def decode(topic: str, messages: Sequence[Message], registry: Registry | None) -> Decoded:
    """Decode messages of one topic that carries a record (KeyError or ValueError for others: a fault of the caller).

    Frame out: the record's columns and schemas.arrow.PLACE_COLUMNS, in the order of messages and rows.
    Refused: frame of REJECTED with each bad message's first bytes in `raw`. Nothing in a message raises. Pure.
    """
    entry = BY_NAME[topic]
    if entry.record is None:
        raise ValueError(f"{topic} carries no record of columns")
    native, lines, refusals = _by_format(messages)
    places = NoPlaces() if registry is None else registry
    may_be_empty = entry.record.name not in READINGS
    parts = [arrow.decode(entry.record, native, entry.max_decoded_bytes, may_be_empty=may_be_empty)] if native else []
    if lines:
        read = decode_readings(entry.record, lines, places, entry.max_decoded_bytes)
        parts.append(read._replace(frame=_with_levels(read.frame, registry)))
    refused = with_raw([refused_frame(refusals), *(part.refused for part in parts)], messages)
    if len(parts) == 1:
        return Decoded(parts[0].frame, refused)
    frame = pl.concat([arrow.empty(entry.record), *(part.frame for part in parts)], rechunk=True)
    return Decoded(arrow.in_message_order(frame, messages), refused)


def _with_levels(frame: pl.DataFrame, registry: Registry | None) -> pl.DataFrame:
    """Return the frame with the registry's level where JSON left a meter's level out; other records as they are."""
    if registry is None or "meter" not in frame.columns or frame.is_empty():
        return frame
    levels = registry.meters.select("meter", _level="level")
    joined = frame.join(levels, on="meter", how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce("level", "_level").alias("level")).drop("_level")


def _by_format(messages: Sequence[Message]) -> tuple[list[Message], list[Message], list[Refusal]]:
    """Split messages into native ones, JSON, and those of a format that is not ours."""
    native, lines, refusals = [], [], []
    for message in messages:
        said = message.header("content-type")
        if said == arrow.CONTENT_TYPE:
            native.append(message)
            continue
        content_type = (said or b"").partition(b";")[0].strip().lower()
        if content_type in JSON_TYPES:
            lines.append(message)
        elif content_type == arrow.CONTENT_TYPE:
            native.append(message)
        else:
            refusals.append(batch_refusal(message) or _unknown_format(message, content_type))
    return native, lines, refusals


def _unknown_format(message: Message, content_type: bytes) -> Refusal:
    shown = printable_bytes(content_type)
    said = f"content-type is {shown}; {arrow.CONTENT_TYPE.decode()} and application/json are read"
    return Refusal(message, WHOLE, "unknown_format", said, value=shown)
