"""What partitions of `telemetry.gpu.v1` contribute to the seconds of jobs: rows without an envelope.

A message on `windows.rack.v1` whose header `schema` is this record's. A row is a fact by itself and closes
nothing. It counts as long as its `coverage` is that of the job's newest record: an amended record makes rows
of the seconds on which it bears void, and others take their place. Of those of one identity that count the
greater (admission, readings, digest) stands, in whatever order they come.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from schemas import arrow
from schemas.column import TIME, Column, Record
from schemas.errors import RejectedRecordError
from schemas.message import Message

JOB_PARTIAL = Record(
    name="windows.rack.job",
    version=1,
    identity=("second", "partition", "subject"),
    columns=(
        Column("second", TIME, "start of the second `[second, second + 1 s)`", "UTC µs", null=None),
        Column("partition", pa.int32(), "partition of telemetry.gpu.v1 that brought the readings", null=None),
        Column("subject", pa.int32(), "the job's number (schemas.job.job_subject)", null=None),
        Column("job_record", pa.int64(), "offset + 1 of the job's record on telemetry.jobs.v1", null=None),
        Column("coverage", pa.int64(), "hash of what the job has in the second by that record", null=None),
        Column("power_milliwatts", pa.int64(), "Σ of the latest readings", "mW", null="no power reported"),
        Column("power_max_milliwatts", pa.int64(), "Σ of the largest readings", "mW", null="no power reported"),
        Column(
            "nameplate_milliwatts", pa.int64(), "Σ nameplate of the GPUs with power", "mW", null="one of them has none"
        ),
        Column("utilization_sum_e4", pa.int64(), "Σ of utilization in 10⁻⁴", "10⁻⁴", null=None),
        Column("utilization_count", pa.int32(), "GPUs in that sum", null=None),
        Column("temperature_max_decicelsius", pa.int32(), "hottest GPU", "0.1 °C"),
        Column("reporting", pa.int32(), "GPUs with power", null=None),
        Column("oldest_age_microseconds", pa.int64(), "age at the second's end of the oldest reading used", "µs"),
        Column("readings", pa.int64(), "number of readings that went in", null=None),
        Column("digest", pa.int64(), "Σ mod 2⁶⁴ of a hash a GPU, linear in what it says, as signed", null=None),
        Column("admission", pa.int16(), "version of the admission rules", null=None),
    ),
)


def is_job_partial(message: Message) -> bool:
    """Tell whether a message of `windows.rack.v1` carries seconds of jobs."""
    return message.header("schema") == JOB_PARTIAL.schema_header.encode()


def encode(rows: pl.DataFrame) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return the value and the headers of the Kafka message that carries rows of JOB_PARTIAL."""
    return arrow.encode(JOB_PARTIAL, rows), arrow.headers(JOB_PARTIAL)


def decode(message: Message, max_decoded_bytes: int = 67_108_864) -> pl.DataFrame:
    """Return the rows of a message; raise RejectedRecordError where they cannot be read. Pure."""
    decoded = arrow.decode(JOB_PARTIAL, [message], max_decoded_bytes)
    if len(decoded.refused):
        refused = decoded.refused.row(0, named=True)
        raise RejectedRecordError(refused["reason"], refused["message"])
    rows = decoded.frame.select(JOB_PARTIAL.polars.keys())
    for column in JOB_PARTIAL.columns:
        if column.is_required and rows[column.name].null_count():
            said = f"{message.place}: {column.name} is missing in a row; every row of a job's second needs it"
            raise RejectedRecordError("missing_field", said, field=column.name)
    return rows
