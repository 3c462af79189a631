"""Raw rows of a stretch of time out of a lake, as admission wants them, and what else recomputing needs of it.

Everything is read of one snapshot of each table. Reads through pyarrow, which alone notices a flipped bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from history.recompute import Raw, Span
from schemas.admission import Clock
from schemas.column import Record
from schemas.gpu import GPU
from schemas.meter import METER
from schemas.place import PLACE_KINDS, unregistered_id
from schemas.site_frames import SiteFrames
from schemas.time import moment
from schemas.timeline import Published, Timeline, admit_in_force
from sinks.lake.tables import BY_NAME, Table
from sinks.sql.snapshot import Span as Times
from sinks.sql.snapshot import live_files
from streams.meter_log import MAX_HOLD_MICROSECONDS

_PLACE = ("_partition", "_offset", "_row", "_appended")
_SCALES = {
    "power_deciwatts": ("power_watts", 10),
    "power_limit_deciwatts": ("power_limit_watts", 10),
    "utilization_e4": ("utilization_fraction", 10_000),
    "encoder_e4": ("encoder_fraction", 10_000),
    "decoder_e4": ("decoder_fraction", 10_000),
    "energy_whole_joules": ("energy_joules", 1),
}
"""The integers on disk by the record's columns that they were made of, and how many make one."""


def read_raw(lake: Path, span: Span, timeline: Timeline, clock: Clock) -> Raw:
    """Return the rows of `span` and of the hold before it, admitted by the facility in force in their seconds.

    An admission that is stricter than the one that let a row into the lake refuses it here.
    """
    first, end = span
    gpu = read_span(lake, BY_NAME["gpu"], first, end)
    power = read_span(lake, BY_NAME["power"], first - MAX_HOLD_MICROSECONDS, end)
    return Raw(_admitted(GPU, _off_disk(gpu), timeline, clock), _admitted(METER, power, timeline, clock))


def read_timeline(lake: Path) -> Timeline:
    """Return every version of the facility that the lake has; each counts from the second that it says."""
    table = BY_NAME["facility"]
    rows = _rows(live_files(lake, table, Times()), ["document", "_offset", "_appended"])
    ordered = rows.sort("_offset").select("document", pl.col("_appended").to_physical()).iter_rows()
    return Timeline.of((Published(SiteFrames.from_json(said.encode()), at) for said, at in ordered), "event")


def newest_generation(lake: Path, span: Span) -> int:
    """Return the greatest generation of any window of `span` and its minutes; 0 where all are live ones."""
    first, end = span.minutes
    found = [
        read_span(lake, BY_NAME[name], first, end, ["window_start", "version_generation"])["version_generation"].max()
        for name in ("windows_1s", "windows_1m")
    ]
    return max((int(each) for each in found if each is not None), default=0)  # type: ignore[arg-type]


def read_rows(lake: Path, table: Table, columns: list[str]) -> pl.DataFrame:
    """Return these columns of every row of a table."""
    return _rows(live_files(lake, table, Times()), columns, None, table.arrow)


def read_span(lake: Path, table: Table, first: int, end: int, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the rows of a table whose event time lies in `[first, end)`, UTC µs."""
    since, until = as_in_lake(first), as_in_lake(end)
    kept = [(table.hour_of, ">=", since), (table.hour_of, "<", until)]
    # Files are pruned by hour: the last of them is the one of the last microsecond.
    files = live_files(lake, table, Times(since, as_in_lake(end - 1)))
    return _rows(files, list(columns or table.arrow.names), kept, table.arrow)


def _rows(
    files: Sequence[str],
    columns: list[str],
    kept: list[tuple[str, str, datetime]] | None = None,
    schema: pa.Schema | None = None,
) -> pl.DataFrame:
    if not files:
        empty = schema.empty_table().select(columns) if schema else pa.table({name: [] for name in columns})
        return pl.DataFrame(empty)
    # Without partitioning=None the folder's `hour=` becomes a column of its own.
    read = pq.read_table(
        list(files), columns=columns, filters=kept, partitioning=None, page_checksum_verification=True, schema=schema
    )
    return pl.DataFrame(read)


def _off_disk(gpu: pl.DataFrame) -> pl.DataFrame:
    """Return the record's columns in place of the integers on disk; admission finds the same integers again."""
    return gpu.with_columns(
        (pl.col(on_disk).cast(pl.Float64) / scale).alias(name) for on_disk, (name, scale) in _SCALES.items()
    )


def _admitted(record: Record, rows: pl.DataFrame, timeline: Timeline, clock: Clock) -> pl.DataFrame:
    known = _registered_since(rows.rename({"unregistered_path": "_name"}), timeline)
    columns = known.select(*record.polars, *_PLACE, "_name").cast(record.polars)  # type: ignore[arg-type]
    return admit_in_force(record, columns, timeline, clock=clock).rows


def _registered_since(rows: pl.DataFrame, timeline: Timeline) -> pl.DataFrame:
    """Give the ids of any version to what was not registered when it came; the id in the lake tells the path."""
    for name, kind in PLACE_KINDS.items():
        if name in rows.columns and (rows[name] < 0).any():
            paths = {path: each for epoch in timeline.epochs for path, each in epoch.registry.ids(kind).items()}
            known = {unregistered_id(path): each for path, each in paths.items()}
            rows = rows.with_columns(pl.col(name).replace(known))
    return rows


def as_in_lake(microseconds: int) -> datetime:
    """Return a time without a zone, as the lake has it."""
    return moment(max(microseconds, 0)).replace(tzinfo=None)
