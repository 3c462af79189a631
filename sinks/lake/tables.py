"""The tables of a lake: their columns on disk, the order of their rows, and where their files lie.

One lake belongs to one Kafka cluster. A table is a Delta table in `LAKE/<table>/`; its Parquet files
lie in `LAKE/<table>/hour=2026-03-01T13/`, and `hour` is the Delta partition column (text, UTC), not a
column of the files. Its hour is that of `hour_of`: event time where queries ask by time, append time
where a record's own times may be absent or be what was wrong with it.

Rows are sorted by `sort`, stably: where that is a device, its rows keep the order of the log, which is
the order of time but for what came late.

A flush that touches more hours than it may write files keeps the largest hours and puts the rows of
all others into one file of `hour=mixed`. A reader that prunes must keep `mixed`, or prune it by the
`time` bounds in the file's statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from schemas.column import TIME, Record
from schemas.gpu import GPU
from schemas.histogram import HISTOGRAM
from schemas.meter import METER
from schemas.rejected import REJECTED
from schemas.window import WINDOW

MIXED_HOUR = "mixed"
"""The partition of rows whose hours were too many for files of their own."""

PLACE = (
    pa.field("_partition", pa.int32(), nullable=False),
    pa.field("_offset", pa.int64(), nullable=False),
    pa.field("_row", pa.int32(), nullable=False),
    pa.field("_appended", TIME, nullable=False),
)
"""Where a row came from: Kafka partition, offset, row (or line) within the message, and append time."""

UNREGISTERED_PATH = pa.field("unregistered_path", pa.string())
"""The path as it was sent where the registry does not know it; null for registered rows."""

ALLOCATION = pa.struct(
    [
        ("node", pa.int32()),
        ("path", pa.string()),
        ("gpu_first", pa.int16()),
        ("gpu_last", pa.int16()),
        ("started", TIME),
        ("ended", TIME),
    ]
)
EVIDENCE = pa.struct([("time", TIME), ("value", pa.float64())])
CAUSE = pa.struct([("job", pa.string()), ("watts", pa.float64())])
MEASURED = pa.struct([("meter", pa.int32()), ("path", pa.string()), ("started", TIME), ("ended", TIME)])


@dataclass(frozen=True)
class Table:
    """Describe one table: its columns on disk, which topics feed it, its order and its hour."""

    name: str
    topics: tuple[str, ...]
    columns: tuple[pa.Field, ...]
    sort: tuple[str, ...]
    hour_of: str

    @property
    def arrow(self) -> pa.Schema:
        """Return the schema of the Parquet files."""
        return pa.schema(self.columns)

    @property
    def delta(self) -> pa.Schema:
        """Return the schema of the Delta table: the files' columns and the partition column `hour`."""
        return self.arrow.append(pa.field("hour", pa.string()))

    def folder(self, lake: Path) -> Path:
        """Return the table's folder in `lake`."""
        return lake / self.name


# On disk a GPU's power is an int32 of 0.1 W, energy an int64 of joules and a fraction an int16 of
# 10⁻⁴: the admitted integers, exact in any order of summing and four times smaller (traps.md 41).
_ON_DISK: dict[str, pa.Field] = {
    "power_watts": pa.field("power_deciwatts", pa.int32()),
    "power_limit_watts": pa.field("power_limit_deciwatts", pa.int32()),
    "utilization_fraction": pa.field("utilization_e4", pa.int16()),
    "encoder_fraction": pa.field("encoder_e4", pa.int16()),
    "decoder_fraction": pa.field("decoder_e4", pa.int16()),
    "energy_joules": pa.field("energy_whole_joules", pa.int64()),
}


def on_disk(record: Record, name: str) -> str:
    """Return the name under which a column of a record lies on disk."""
    return _ON_DISK[name].name if record == GPU and name in _ON_DISK else name


def _fields(record: Record, otherwise: Mapping[str, pa.Field] = MappingProxyType({})) -> tuple[pa.Field, ...]:
    return tuple(
        otherwise.get(column.name, pa.field(column.name, column.dtype, nullable=not column.is_required))
        for column in record.columns
    )


def _texts(*names: str) -> tuple[pa.Field, ...]:
    return tuple(pa.field(name, pa.string()) for name in names)


def _times(*names: str) -> tuple[pa.Field, ...]:
    return tuple(pa.field(name, TIME) for name in names)


_JOB = (
    *_texts("site", "job", "user", "account", "workload", "state"),
    *_times("submitted", "started", "ended"),
    pa.field("priority", pa.int64()),
    pa.field("floor_watts", pa.float64()),
    pa.field("allocations", pa.list_(ALLOCATION)),
    pa.field("measured", pa.list_(MEASURED)),
)

_PROGRESS = (
    pa.field("time", TIME, nullable=False),
    *_texts("job"),
    pa.field("images", pa.int64()),
    pa.field("video_seconds", pa.float64()),
    pa.field("tokens", pa.int64()),
    pa.field("steps", pa.int64()),
)

_ALERT = (
    *_texts("id", "transition", "rule", "rule_version", "site", "subject_kind", "subject", "severity"),
    *_times("start", "at", "fired"),
    *(pa.field(name, pa.float64()) for name in ("value", "limit", "threshold")),
    *_texts("unit", "basis"),
    pa.field("expected", pa.int32()),
    pa.field("reporting", pa.int32()),
    *_texts("summary"),
    pa.field("evidence", pa.list_(EVIDENCE)),
    pa.field("cause", pa.list_(CAUSE)),
    *_texts("parent", "amends"),
)

_FACILITY = (
    *_texts("site"),
    pa.field("version", pa.int64()),
    *_times("effective_from"),
    *_texts("document"),
)

_ADOPTION = (
    pa.field("table_name", pa.string(), nullable=False),
    pa.field("topic", pa.string(), nullable=False),
    pa.field("partition", pa.int32(), nullable=False),
    pa.field("cause", pa.string(), nullable=False),
    *(pa.field(name, pa.int64(), nullable=False) for name in ("epoch_before", "next_before")),
    pa.field("last_appended", TIME, nullable=False),
    *(pa.field(name, pa.int64(), nullable=False) for name in ("epoch", "next")),
    pa.field("lost_messages", pa.int64()),
    pa.field("said", pa.string(), nullable=False),
)

# Refusals of telemetry arrive as records, published by the streams. Nobody publishes what is wrong
# on our own topics: the writer itself puts that into `rejected`, under a position of its own.
_REFUSED_HERE = ("windows.site.v1", "windows.histogram.v1", "alerts.v1", "facility.v1")
_TOPIC = pa.field("_topic", pa.string(), nullable=False)

TABLES: tuple[Table, ...] = (
    Table(
        "gpu",
        ("telemetry.gpu.v1",),
        (*_fields(GPU, _ON_DISK), UNREGISTERED_PATH, *PLACE),
        ("rack", "node", "gpu"),
        "time",
    ),
    Table("power", ("telemetry.power.v1",), (*_fields(METER), UNREGISTERED_PATH, *PLACE), ("meter", "phase"), "time"),
    Table("jobs", ("telemetry.jobs.v1",), (*_JOB, *PLACE), ("_offset",), "_appended"),
    Table("progress", ("telemetry.progress.v1",), (*_PROGRESS, *PLACE), ("_offset",), "time"),
    Table("windows_1s", ("windows.site.v1",), (*_fields(WINDOW), *PLACE), ("subject_kind", "subject"), "window_start"),
    Table("windows_1m", ("windows.site.v1",), (*_fields(WINDOW), *PLACE), ("subject_kind", "subject"), "window_start"),
    Table(
        "histograms",
        ("windows.histogram.v1",),
        (*_fields(HISTOGRAM), *PLACE),
        ("subject_kind", "subject", "metric"),
        "window_start",
    ),
    Table("alerts", ("alerts.v1",), (*_ALERT, *PLACE), ("_offset",), "at"),
    Table(
        "rejected",
        ("telemetry.rejected.v1", *_REFUSED_HERE),
        (*_fields(REJECTED), _TOPIC, *PLACE),
        ("_offset",),
        "_appended",
    ),
    Table("facility", ("facility.v1",), (*_FACILITY, *PLACE), ("_offset",), "_appended"),
    # Written by `wattline lake adopt` alone: `_offset` counts its rows, `_appended` is when it was done.
    Table("adoptions", (), (*_ADOPTION, *PLACE), ("_offset",), "_appended"),
)
"""Every table. `windows.site.v1` feeds windows_1s (shorter than a minute) and windows_1m (the others)."""

BY_NAME: dict[str, Table] = {table.name: table for table in TABLES}

TOPICS: tuple[str, ...] = tuple(sorted({topic for table in TABLES for topic in table.topics}))
"""Every topic that the lake keeps."""
