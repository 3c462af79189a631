"""The partial: what one partition of one telemetry topic contributes to seconds that it closes or revises.

A message on `windows.rack.v1` is an envelope and rows. The envelope travels as JSON in the Kafka
header `partial` (schemas.partial.Envelope); the rows are Arrow: PARTIAL, or those of a piece or of its
histogram (schemas/piece.py). A closing may have no rows, and may span several seconds
`[first_second, end_second)`. Seconds of jobs travel beside them as messages of their own
(schemas/job_partial.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

import msgspec
import polars as pl
import pyarrow as pa

from schemas import arrow
from schemas.column import TIME, Column, Record
from schemas.errors import RejectedRecordError
from schemas.message import Message
from schemas.piece import PIECE, PIECE_HISTOGRAM

PARTIAL = Record(
    name="windows.rack",
    version=1,
    identity=("second", "subject_kind", "subject"),
    columns=(
        Column("second", TIME, "start of the second `[second, second + 1 s)`", "UTC µs", null=None),
        Column("subject_kind", pa.int8(), "RACK (the sum of its GPUs) or METER", null=None),
        Column("subject", pa.int32(), "registry id within its kind", null=None),
        Column(
            "power_milliwatts",
            pa.int64(),
            "RACK: Σ of the latest readings of its GPUs; METER: time-weighted mean, a reading held at most 3 intervals",
            "mW",
            null="no power reported",
        ),
        Column("power_max_milliwatts", pa.int64(), "largest reading (METER) or Σ of the largest (RACK)", "mW"),
        Column("silent_nameplate_milliwatts", pa.int64(), "nameplate of what is silent", "mW", null="not known"),
        Column("current_square_microseconds", pa.int64(), "Σ i²·dt, each term rounded", "A²µs"),
        Column("energy_millijoules", pa.int64(), "energy of the second", "mJ"),
        Column("energy_method", pa.int8(), "1 = counter, 3 = integral", null="no energy"),
        Column("utilization_sum_e4", pa.int64(), "Σ of utilization in 10⁻⁴", "10⁻⁴"),
        Column("utilization_count", pa.int32(), "GPUs in that sum", null=None),
        Column("temperature_max_decicelsius", pa.int32(), "hottest GPU", "0.1 °C"),
        Column("expected", pa.int32(), "GPUs or meters that should report", null=None),
        Column("reporting", pa.int32(), "GPUs or meters that did (a held reading counts)", null=None),
        Column("oldest_age_microseconds", pa.int64(), "age at the second's end of the oldest reading used", "µs"),
        Column("readings", pa.int64(), "number of different readings that the row is a function of", null=None),
        Column("digest", pa.int64(), "Σ mod 2⁶⁴ of a hash a reading, as signed", null=None),
    ),
)

OPEN_END = 253_402_300_799_000_000
"""`end_second` of an idle note without a clock (event time): the partition bounds nothing until its next closing."""


Kind = Literal["closing", "revision", "idle", "piece", "histogram"]


class Envelope(msgspec.Struct, frozen=True):
    """Say which stretch of which log a partial covers; times are UTC µs.

    `from_offset` to `to_offset` is half-open. `idle` says that the partition had nothing at the end
    of its log for the bound; it closes through `end_second` by the clock, the only thing that does.
    `piece` and `histogram` carry what the partition says of one piece, before the closing of its last second
    and again, of the devices or racks that it touched, after a revision; they close nothing.
    """

    topic: str
    partition: int
    from_offset: int
    to_offset: int
    kind: Kind
    first_second: int
    end_second: int
    watermark: int
    admission: int = 1
    """Version of the rules by which its readings were admitted."""

    @property
    def record(self) -> Record:
        """Return the record of the rows of such a message."""
        return _RECORDS.get(self.kind, PARTIAL)


_RECORDS = {"piece": PIECE, "histogram": PIECE_HISTOGRAM}


class Partial(NamedTuple):
    """Hold one envelope and its rows (those of `envelope.record`, ordered by second or start)."""

    envelope: Envelope
    rows: pl.DataFrame


def encode(partial: Partial) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return the value and the headers of the Kafka message that carries a partial."""
    envelope = ("partial", msgspec.json.encode(partial.envelope))
    record = partial.envelope.record
    return arrow.encode(record, partial.rows), [*arrow.headers(record), envelope]


def decode_envelope(message: Message) -> Envelope:
    """Return the envelope of a message; raise RejectedRecordError where it has none that can be read."""
    header = message.header("partial")
    try:
        return msgspec.json.decode(header or b"", type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedRecordError(
            "missing_field" if header is None else "wrong_type",
            f"{message.place}: the header `partial` is not an envelope: {error}",
            field="partial",
        ) from error


def decode(message: Message, max_decoded_bytes: int = 67_108_864) -> Partial:
    """Return the partial of a message; raise RejectedRecordError where it is none. Pure."""
    envelope = decode_envelope(message)
    record = envelope.record
    decoded = arrow.decode(record, [message], max_decoded_bytes)
    if len(decoded.refused):
        reason, sentence = decoded.refused.row(0, named=True)["reason"], decoded.refused.row(0, named=True)["message"]
        raise RejectedRecordError(reason, sentence)
    rows = decoded.frame.select(record.polars.keys())
    for column in record.columns:
        if column.is_required and rows[column.name].null_count():
            said = f"{message.place}: {column.name} is missing in a row; every row of a partial needs it"
            raise RejectedRecordError("missing_field", said, field=column.name)
    return Partial(envelope, rows)


def decode_all(messages: Sequence[Message], max_decoded_bytes: int = 67_108_864) -> list[Partial | RejectedRecordError]:
    """Return the partial of each message in order, or why it is none; what `decode` says, at once for all. Pure."""
    found: dict[int, Partial | RejectedRecordError] = {}
    by_record: dict[str, list[tuple[int, Envelope]]] = {}
    for index, message in enumerate(messages):
        try:
            envelope = decode_envelope(message)
        except RejectedRecordError as error:
            found[index] = error
        else:
            by_record.setdefault(envelope.record.name, []).append((index, envelope))
    for group in by_record.values():
        found |= _joined(messages, group, max_decoded_bytes)
    return [found[index] for index in range(len(messages))]


def _joined(
    messages: Sequence[Message], group: list[tuple[int, Envelope]], max_decoded_bytes: int
) -> dict[int, Partial | RejectedRecordError]:
    """Decode messages of one record as one, and one by one where any of them is not as it should be."""
    record = group[0][1].record
    plain = arrow.decode_plain(record, [messages[index] for index, _ in group], max_decoded_bytes)
    required = [column.name for column in record.columns if column.is_required]
    if plain is None or _has_null(plain[0], required):
        return {index: _one(messages[index], max_decoded_bytes) for index, _ in group}
    rows, counts = plain
    parts = zip(group, pairwise(accumulate(counts, initial=0)), strict=True)
    return {index: Partial(envelope, rows[start:end]) for (index, envelope), (start, end) in parts}


def _has_null(rows: pl.DataFrame, required: list[str]) -> bool:
    return any(rows[name].null_count() for name in required)


def _one(message: Message, max_decoded_bytes: int) -> Partial | RejectedRecordError:
    try:
        return decode(message, max_decoded_bytes)
    except RejectedRecordError as error:
        return error
