"""Committed files that are not whole any more: no query is answered from what is left of a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from schemas.errors import DataLossError
from sinks.lake.tables import TABLES
from sinks.sql.snapshot import open_table


@contextmanager
def refusing_damage(lake: Path) -> Iterator[None]:
    """Turn the error of a reader into one that names the file and what is wrong with it, where a file is not whole.

    The log knows how long each file was: a cut one is found by its length, after a query has failed, never before.
    """
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if (said := _first_damage(lake)) is None:
            raise
        raise DataLossError(said) from error


def _first_damage(lake: Path) -> str | None:
    for table in TABLES:
        opened = open_table(lake, table)
        if opened is None:
            continue
        for path, size in pl.DataFrame(opened.get_add_actions()).select("path", "size_bytes").iter_rows():
            file = table.folder(lake) / path
            found = file.stat().st_size if file.exists() else None
            if found != size:
                what = "is not there" if found is None else f"has {found:,} bytes"
                return (
                    f"{file} {what}, and was {size:,} bytes long when it was committed: its rows cannot be read, and "
                    "no query is answered from the rest alone. Look at the disk, then bring the file back from a "
                    "backup (docs/lake.md, When it halts)"
                )
    return None
