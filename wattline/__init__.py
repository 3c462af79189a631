"""The composition root: command line, demo, terminal views; and `wattline.connect`, the lake in a notebook."""

from __future__ import annotations

from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

__all__ = ["connect"]


def connect(
    lake: str | PathLike[str] | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    at: datetime | str | None = None,
) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection over a snapshot of a lake: `connect().sql("FROM sites").df()`.

    `lake` is its folder, else WATTLINE_LAKE or the user's own. `since` and `until` leave files of other times unread:
    a day of a campus is answered faster so. `at` is an earlier moment, or a table's version as in "gpu=12". Times are
    UTC; those with a zone are converted. What is written later is seen by a later connection.
    """
    from sinks.sql.at import NEWEST, read_at
    from sinks.sql.connection import connect as open_lake
    from sinks.sql.snapshot import Span
    from wattline.options import default_lake

    folder = default_lake() if lake is None else Path(lake)
    told = at.isoformat() if isinstance(at, datetime) else at
    return open_lake(folder, Span(_utc(since), _utc(until)), NEWEST if told is None else read_at([told]))


def _utc(moment: datetime | None) -> datetime | None:
    from datetime import UTC

    return moment if moment is None or moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
