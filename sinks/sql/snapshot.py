"""The live files of one version of a lake's tables, as an explicit list, never a glob."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import deltalake
import polars as pl

from schemas.errors import ConfigurationError
from sinks.lake.formats import require_known_format
from sinks.lake.tables import MIXED_HOUR, Table
from sinks.sql.at import NEWEST, At, version_of


@dataclass(frozen=True)
class Span:
    """Bound the event times that a connection reads: `[since, until)`, UTC without zone; None is open."""

    since: datetime | None = None
    until: datetime | None = None

    def hours(self, hours: pl.Series) -> pl.Series:
        """Tell which partition hours can hold rows of this span; `mixed` always can."""
        keep = hours == MIXED_HOUR
        low = "" if self.since is None else self.since.strftime("%Y-%m-%dT%H")
        high = "9999" if self.until is None else self.until.strftime("%Y-%m-%dT%H")
        return keep | ((hours >= low) & (hours <= high))

    def condition(self, column: str) -> str:
        """Return the span as a condition of SQL on a column of times."""
        bounds = [(">=", self.since), ("<", self.until)]
        told = [f"{column} {sign} TIMESTAMP '{moment.isoformat(sep=' ')}'" for sign, moment in bounds if moment]
        return " AND ".join(told) or "true"


def open_table(lake: Path, table: Table, at: At = NEWEST) -> deltalake.DeltaTable | None:
    """Open a version of a table, or return None where nothing had been written yet.

    Raises ConfigurationError where a folder of that name is not a Delta table, or has no such version.
    """
    folder = table.folder(lake)
    if not (folder / "_delta_log").is_dir():
        return None
    version = version_of(folder, table, at)
    if version == -1:
        return None
    try:
        delta = deltalake.DeltaTable(str(folder), version=version)
    except deltalake.exceptions.TableNotFoundError:
        return None
    except deltalake.exceptions.DeltaError as error:
        raise ConfigurationError(
            f"{folder} cannot be opened as a table of a lake: {error}. Name another folder with --lake, or let the "
            f"lake writer start once: it sets a damaged end of the log aside and fills it from Kafka."
        ) from error
    require_known_format(delta, folder)
    return delta


def live_files(lake: Path, table: Table, span: Span, at: At = NEWEST) -> list[str]:
    """Return the paths of the files of one snapshot of `table` that can hold rows of `span`."""
    opened = open_table(lake, table, at)
    if opened is None:
        return []
    actions = pl.DataFrame(opened.get_add_actions(flatten=True))
    if not actions.height:
        return []
    paths = pl.Series("path", opened.file_uris())
    hours = actions["partition.hour"] if table.hour_of != "_appended" else None
    return (paths if hours is None else _filtered(actions, paths, span)).to_list()


def _filtered(actions: pl.DataFrame, paths: pl.Series, span: Span) -> pl.Series:
    """Keep the paths whose add action lies in an hour of `span`; matched by file name, which is unique."""
    names = actions["path"].str.split("/").list.last()
    kept = set(names.filter(span.hours(actions["partition.hour"])).to_list())
    return paths.filter(paths.str.split("/").list.last().is_in(kept))
