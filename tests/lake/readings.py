"""Messages as sources send them, and what a lake holds, for the tests of the lake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from schemas.arrow import encode, headers
from schemas.column import Record
from schemas.gpu import GPU
from schemas.message import Message
from schemas.meter import METER

GPU_TOPIC = "telemetry.gpu.v1"
POWER_TOPIC = "telemetry.power.v1"
START = 1_772_366_400_000_000
"""2026-03-01T12:00:00Z in µs."""


def frame(record: Record, **columns: object) -> pl.DataFrame:
    """Return a frame of `record` with the columns given and nulls for the rest."""
    given = pl.DataFrame(columns, strict=False)
    nulls = (pl.lit(None).alias(name) for name in record.polars if name not in given.columns)
    return given.with_columns(*nulls).select(pl.col(name).cast(dtype) for name, dtype in record.polars.items())


def gpu_frame(rack: int, time: int, power_watts: list[float]) -> pl.DataFrame:
    """Return one reading a GPU of `rack`, four GPUs a node."""
    slots = np.arange(len(power_watts))
    return frame(
        GPU,
        time=[time] * len(slots),
        rack=[rack] * len(slots),
        node=rack * 18 + slots // 4,
        gpu=slots % 4,
        power_watts=power_watts,
    )


def gpu_message(offset: int, partition: int = 0, *, rack: int = 1, time: int | None = None, rows: int = 8) -> Message:
    """Return a native message of `rows` readings whose power tells its offset."""
    moment = START + offset * 1_000_000 if time is None else time
    value = encode(GPU, gpu_frame(rack, moment, [100.0 + offset % 900] * rows))
    return Message(GPU_TOPIC, partition, offset, moment + 5_000, b"%d" % rack, value, tuple(headers(GPU)))


def power_message(offset: int, power_watts: list[float], *, time: int = START) -> Message:
    """Return a native message of one reading a meter."""
    rows = len(power_watts)
    value = encode(
        METER, frame(METER, time=[time] * rows, meter=range(rows), phase=[0] * rows, power_watts=power_watts)
    )
    return Message(POWER_TOPIC, 0, offset, time + 5_000, b"row", value, tuple(headers(METER)))


def json_message(topic: str, offset: int, value: bytes | None, key: bytes | None = b"key") -> Message:
    """Return a message without headers."""
    return Message(topic, 0, offset, START + offset * 1000, key, value)


def rows_of(lake: Path, table: str) -> pa.Table:
    """Return the rows of a table's newest snapshot, `_partition`, `_offset`, `_row` first in order."""
    delta = DeltaTable(str(lake / table))
    files = [Path(uri) for uri in delta.file_uris()]
    schema = pq.read_schema(files[0]) if files else pa.schema([("_partition", pa.int32()), ("_offset", pa.int64())])
    rows = pa.concat_tables([pq.ParquetFile(path).read() for path in files]) if files else schema.empty_table()
    order = [(name, "ascending") for name in ("_partition", "_offset", "_row") if name in rows.schema.names]
    return rows.sort_by(order)


def places_of(rows: pa.Table) -> list[tuple[int, int, int]]:
    """Return (partition, offset, row) of each row."""
    return list(zip(*(rows.column(name).to_pylist() for name in ("_partition", "_offset", "_row")), strict=True))
