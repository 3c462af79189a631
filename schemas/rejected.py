"""The refused row: what admission would not take, why, and where it lies."""

from __future__ import annotations

import pyarrow as pa

from schemas.column import TIME, Column, Record

REASONS: dict[str, str] = {
    "empty": "the message has no value, or no row, where its topic needs one",
    "too_large": "the message, or what it expands to, is larger than its topic allows",
    "not_arrow": "the message says it is Arrow and cannot be read as one whole record batch",
    "wrong_schema": "the columns or their types are not those of the topic's record",
    "unknown_format": "the content-type of the message names a format that is not read here",
    "not_json": "the line is not one JSON object",
    "wrong_type": "a field has another type than its column",
    "unknown_field": "a field is not a column of the record",
    "missing_field": "a field that every reading needs is missing",
    "not_a_number": "NaN or an infinity",
    "out_of_range": "a number outside what its column allows",
    "bad_time": "a time that no clock can mean, or one that is not a time",
    "clock_ahead": "event time lies further ahead of Kafka's append time than the allowed skew",
    "bad_path": "a path or id that is not of the allowed form",
    "absurd_power": "more than twice the nameplate of the device",
    "wrong_key": "the key of the message is not what its topic asks for",
    "undecodable_batch": "the record batch could not be read at all, so its records are skipped",
}
"""Every reason a row can be refused for; also the label of the metric, so the set is bounded."""

REJECTED = Record(
    name="telemetry.rejected",
    version=1,
    identity=("topic", "partition", "offset", "row"),
    columns=(
        Column("topic", pa.string(), "topic of the refused message", null=None),
        Column("partition", pa.int32(), "its partition", null=None),
        Column("offset", pa.int64(), "its offset", null=None),
        Column(
            "row", pa.int32(), "row (Arrow) or line (JSON) in the message, from 0; −1 = the whole message", null=None
        ),
        Column("reason", pa.string(), "one of REASONS", null=None),
        Column("field", pa.string(), "the column that was refused", null="no single column"),
        Column("value", pa.string(), "the value seen, as text of at most 200 characters", null="none"),
        Column("message", pa.string(), "the whole sentence for a person", null=None),
        Column("appended", TIME, "Kafka's append time of the refused message", "UTC µs", null=None),
        Column("admission", pa.int16(), "version of the admission rules", null=None),
        Column(
            "raw",
            pa.binary(),
            "the message's bytes, at most 64 KiB, on its first refused row only",
            null="given on another row",
        ),
    ),
)
