"""What a lake holds and how far it has come: read from the newest snapshot of each table, nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from schemas.errors import ConfigurationError
from schemas.topics import BY_NAME as TOPIC_BY_NAME
from sinks.lake.formats import require_known_format
from sinks.lake.ledger import read_position
from sinks.lake.positions import Source
from sinks.lake.tables import TABLES, Table


@dataclass(frozen=True)
class TableStatus:
    """Show one table; a time is None where there are no rows.

    `positions` holds the next offset of each partition, None before the first commit, and `lag` the
    messages that Kafka has beyond it, where Kafka was asked.
    """

    table: str
    version: int
    rows: int
    files: int
    bytes: int
    newest_event: datetime | None
    newest_append: datetime | None
    positions: dict[Source, int | None] = field(default_factory=dict)
    lag: dict[Source, int] | None = None


def read_status(lake: Path, ends: Mapping[Source, int] | None = None) -> list[TableStatus]:
    """Return the status of every table of `lake`; `ends` are the ends of Kafka's logs, where known.

    Raises ConfigurationError where the folder holds no lake.
    """
    found = [table for table in TABLES if DeltaTable.is_deltatable(str(table.folder(lake)))]
    if not found:
        raise ConfigurationError(
            f"no lake at {lake}: start the lake writer (wattline run --only lake), or name another folder with "
            "--lake or WATTLINE_LAKE"
        )
    return [_status(table, lake, ends) for table in found]


def sources_of(table: Table) -> list[Source]:
    """Return every partition of every topic that feeds a table."""
    return [Source(topic, number) for topic in table.topics for number in range(TOPIC_BY_NAME[topic].partitions)]


def _status(table: Table, lake: Path, ends: Mapping[Source, int] | None) -> TableStatus:
    delta = DeltaTable(str(table.folder(lake)))
    require_known_format(delta, table.folder(lake))
    files: list[dict[str, Any]] = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    read = {source: read_position(delta, source) for source in sources_of(table)}
    positions = {source: None if position is None else position.next for source, position in read.items()}
    return TableStatus(
        table=table.name,
        version=delta.version(),
        rows=sum(file["num_records"] for file in files),
        files=len(files),
        bytes=sum(file["size_bytes"] for file in files),
        newest_event=_newest(files, table.hour_of),
        newest_append=_newest(files, "_appended"),
        positions=positions,
        lag=None if ends is None else {source: ends[source] - (offset or 0) for source, offset in positions.items()},
    )


def _newest(files: list[dict[str, Any]], column: str) -> datetime | None:
    return max((file[f"max.{column}"] for file in files if file.get(f"max.{column}")), default=None)
