"""The native format: one Arrow IPC stream a message, one uncompressed record batch, a fixed schema.

Messages of our own writers (and of pyarrow with the record's schema) begin with one of two known
schema messages, byte for byte. Their bodies are joined behind one of them and decoded at once, at a
fifth of the cost of one decode a message. Whatever differs in a single byte, or fails, is looked at
alone, so that a bad message never costs its neighbours.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.arrow_foreign import read_foreign
from schemas.arrow_stream import END, BatchHead, read_batch_head, schema_length
from schemas.column import Record
from schemas.message import Message
from schemas.rejection import WHOLE, Decoded, Refusal, refused_frame

CONTENT_TYPE = b"application/vnd.apache.arrow.stream"
MAX_DECODED_BYTES = 16_777_216
"""What one message may expand to where its topic does not say."""

JOINED_BYTES = 1_048_576
"""How much is decoded at once: larger buffers go back to the system each time, and their pages cost more than this."""

PLACE_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "_partition": pl.Int32,
    "_offset": pl.Int64,
    "_row": pl.Int32,
    "_appended": pl.Datetime("us"),
    "_name": pl.String,
}
"""What decoding adds to a record's columns; `_name` is a path that the registry does not know, else null."""


class _Body(NamedTuple):
    """One well-formed message: its place among the messages, its batch and the rows that it declares."""

    at: int
    rows: int
    body: memoryview


def encode(record: Record, frame: pl.DataFrame) -> bytes:
    """Return `frame` (exactly the record's columns) as one IPC stream of one uncompressed batch.

    Raises polars.exceptions.SchemaError or ColumnNotFoundError where columns are missing or of another type.
    """
    return next(encode_slices(record, frame, [len(frame)]))


def encode_slices(record: Record, frame: pl.DataFrame, lengths: Iterable[int]) -> Iterator[bytes]:
    """Yield one message for each run of `lengths` rows of `frame`, whose columns are looked at once for all.

    Raises what `encode` raises.
    """
    if frame.columns != list(record.polars) or frame.dtypes != list(record.polars.values()):
        frame = frame.select(record.polars.keys()).match_to_schema(record.polars)
    wire = frame.rechunk()
    first = 0
    for length in lengths:
        target = io.BytesIO()
        wire.slice(first, length).write_ipc_stream(target, compat_level=pl.CompatLevel.oldest())
        first += length
        yield target.getvalue()


def headers(record: Record) -> list[tuple[str, bytes]]:
    """Return the Kafka headers of a native message: content type and schema."""
    return [("content-type", CONTENT_TYPE), ("schema", record.schema_header.encode())]


def decode(
    record: Record,
    messages: Sequence[Message],
    max_decoded_bytes: int = MAX_DECODED_BYTES,
    *,
    may_be_empty: bool = True,
) -> Decoded:
    """Decode native messages of one record, all at once where they are as our own writers make them.

    Frame out: the record's columns and PLACE_COLUMNS, in the order of messages and rows. A message that
    cannot be read, or has no row where it may not be empty, is one refusal of row WHOLE; it never costs its
    neighbours, and nothing is raised. Pure.
    """
    bodies, others = _sort_out(record, messages, max_decoded_bytes)
    parts: list[pl.DataFrame] = []
    refusals: list[Refusal] = []
    for header, group in bodies.items():
        joined, read, doubtful = _read_joined(header, group)
        others.extend(body.at for body in doubtful)
        if not may_be_empty:
            refusals.extend(_without_rows(messages[body.at]) for body in read if not body.rows)
        if not joined.is_empty():
            parts.append(_placed(joined, messages, read))
    for index in sorted(others):
        frame, refused = read_foreign(record, messages[index], max_decoded_bytes)
        refusals.extend(refused)
        if not (may_be_empty or refused or len(frame)):
            refusals.append(_without_rows(messages[index]))
        if not frame.is_empty():
            parts.append(placed(frame, messages[index]))
    if len(parts) == 1:
        return Decoded(parts[0], refused_frame(refusals))
    frame = pl.concat([empty(record), *parts], rechunk=True)
    return Decoded(in_message_order(frame, messages), refused_frame(refusals))


def _without_rows(message: Message) -> Refusal:
    return Refusal(message, WHOLE, "empty", "the message has no row; send none where nothing was measured")


def decode_plain(
    record: Record, messages: Sequence[Message], max_decoded_bytes: int = MAX_DECODED_BYTES
) -> tuple[pl.DataFrame, list[int]] | None:
    """Return the rows of native messages and how many each has, without their places; None where any is not plain.

    Plain are those that one writer makes, one of our own or pyarrow: what `decode` decodes at once. Pure.
    """
    bodies, others = _sort_out(record, messages, max_decoded_bytes)
    groups = [(header, group) for header, group in bodies.items() if group]
    if others or len(groups) != 1:
        return None
    frame, read, doubtful = _read_joined(*groups[0])
    return None if doubtful else (frame, [body.rows for body in read])


def empty(record: Record) -> pl.DataFrame:
    """Return a decoded frame without rows: the record's columns and PLACE_COLUMNS."""
    return pl.DataFrame(schema={**record.polars, **PLACE_COLUMNS})


def placed(frame: pl.DataFrame, message: Message) -> pl.DataFrame:
    """Return a frame that has `_row` with the place of its one message added."""
    return frame.with_columns(
        _partition=pl.lit(message.partition, pl.Int32),
        _offset=pl.lit(message.offset, pl.Int64),
        _appended=pl.lit(message.appended, pl.Int64).cast(pl.Datetime("us")),
        _name=pl.lit(None, pl.String),
    ).select([name for name in frame.columns if name not in PLACE_COLUMNS] + list(PLACE_COLUMNS))


def in_message_order(frame: pl.DataFrame, messages: Sequence[Message]) -> pl.DataFrame:
    """Return the decoded `frame` sorted by the order in which `messages` came, then by row."""
    places = [(message.partition, message.offset, index) for index, message in enumerate(messages)]
    schema = {"_partition": pl.Int32, "_offset": pl.Int64, "_index": pl.Int64}
    order = pl.DataFrame(places, schema=schema, orient="row").unique(["_partition", "_offset"], keep="first")
    return frame.join(order, on=["_partition", "_offset"], how="left").sort("_index", "_row").drop("_index")


def _sort_out(
    record: Record, messages: Sequence[Message], max_decoded_bytes: int
) -> tuple[dict[bytes, list[_Body]], list[int]]:
    """Split messages into well-formed ones by their schema message, and the indexes of all others."""
    expected = record.schema_header.encode()
    known = {header: list[_Body]() for header in known_headers(record)}
    others = []
    for index, message in enumerate(messages):
        body = None
        value = message.value
        if value is not None and len(value) <= max_decoded_bytes and message.header("schema") in (None, expected):
            body = _well_formed(known, value, index)
        if body is None:
            others.append(index)
    return known, others


def _well_formed(known: dict[bytes, list[_Body]], value: bytes, index: int) -> _Body | None:
    """File a message under its schema message if it is one known schema, one batch and the end, to the byte."""
    for header, group in known.items():
        if value.startswith(header) and value.endswith(END):
            start, end = len(header), len(value) - len(END)
            try:
                head = read_batch_head(value, start) if start < end else BatchHead(0, end, False)
            except (struct.error, IndexError):
                return None
            if head is None or head.end != end or head.is_compressed:
                return None
            body = _Body(index, head.rows, memoryview(value)[start:end])
            group.append(body)
            return body
    return None


def _read_joined(header: bytes, group: list[_Body]) -> tuple[pl.DataFrame, list[_Body], list[_Body]]:
    """Decode bodies joined behind one schema message; return the rows, their bodies, and the bodies in doubt."""
    frames, read, doubtful = [], [], []
    for piece in _pieces(group):
        frame = _read_piece(header, piece)
        if frame is None:
            doubtful += piece
        else:
            frames.append(frame)
            read += piece
    return pl.concat(frames, rechunk=True) if frames else pl.DataFrame(), read, doubtful


def _pieces(group: list[_Body]) -> Iterator[list[_Body]]:
    """Cut bodies into runs of about JOINED_BYTES."""
    start = size = 0
    for end, body in enumerate(group, 1):
        size += len(body.body)
        if size >= JOINED_BYTES or end == len(group):
            yield group[start:end]
            start, size = end, 0


def _read_piece(header: bytes, piece: list[_Body]) -> pl.DataFrame | None:
    """Decode some bodies at once; None on any doubt."""
    try:
        frame = pl.read_ipc_stream(b"".join([header, *(body.body for body in piece), END]))
    except BaseException as error:
        # A PanicException of polars derives from BaseException (traps.md 23).
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return None
    return frame if frame.height == sum(body.rows for body in piece) else None


def _placed(frame: pl.DataFrame, messages: Sequence[Message], group: list[_Body]) -> pl.DataFrame:
    """Return the joined frame with each row's place in the log, and no name: native messages carry ids."""
    counts = np.array([body.rows for body in group])
    own = [messages[body.at] for body in group]
    first_rows = np.cumsum(counts) - counts

    def spread(values: list[int], dtype: type[np.generic]) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
        return np.repeat(np.array(values, dtype=dtype), counts)

    return frame.with_columns(
        _partition=pl.Series(spread([message.partition for message in own], np.int32)),
        _offset=pl.Series(spread([message.offset for message in own], np.int64)),
        _row=pl.Series((np.arange(frame.height) - np.repeat(first_rows, counts)).astype(np.int32)),
        _appended=pl.Series(spread([message.appended for message in own], np.int64)).cast(pl.Datetime("us")),
        _name=pl.lit(None, pl.String),
    )


@cache
def known_headers(record: Record) -> tuple[bytes, ...]:
    """Return the schema messages that polars and pyarrow write for this record, ours first."""
    ours = encode(record, record.empty())
    theirs = io.BytesIO()
    with pa.ipc.new_stream(theirs, record.arrow):
        pass
    return tuple({value[: schema_length(value)]: None for value in (ours, theirs.getvalue())})
