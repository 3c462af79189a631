"""The relations of the schema `raw` that read files: every row of a table, and of each identity the row that stands.

`raw.<table>` is every row of every live file. `raw.<view>_once` is what a view shows: of a settled hour
(sinks.sql.files) the rows as they lie, of every other those that stand. Which files it reads is said by variables of
the connection (sinks.sql.aim), all live ones by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sinks.lake.identity import stands
from sinks.lake.tables import BY_NAME
from sinks.sql.plan import literal
from sinks.sql.sources import SOURCES, SPREAD, ends_variable, lists_variable

Files = Mapping[str, Sequence[str]]
"""Paths of live files by how they are read: `settled` and `open`."""


def every_row(table: str, files: Files, condition: str) -> str:
    """Return the statement that makes `raw.<table>`; `condition` leaves out rows of other times."""
    paths = [path for each in files.values() for path in each]
    listed = f"coalesce(getvariable('{lists_variable('raw', table)}'), {_listed(paths)})"
    read = _read(table, listed, condition) if paths else f"SELECT * FROM raw.{table}_empty"
    return f"CREATE VIEW raw.{table} AS SELECT {_columns(table)} FROM ({read})"


def once(view: str, files: Files, condition: str) -> str:
    """Return the statement that makes `raw.<view>_once`."""
    table = SOURCES[view].tables[0]
    parts = []
    for name, paths in files.items():
        if paths:
            listed = f"coalesce(getvariable('{lists_variable(view, name)}'), {_listed(paths)})"
            wanted = [f"{_ends(view)}.is_{name}", condition, *_within(view)]
            read = f"SELECT {_columns(table)} FROM ({_read(table, listed, ' AND '.join(wanted))})"
            parts.append(read if name == "settled" else f"SELECT * FROM ({read} QUALIFY {stands(table)})")
    return f"CREATE VIEW raw.{view}_once AS {' UNION ALL '.join(parts) or f'SELECT * FROM raw.{table}_empty'}"


def _columns(table: str) -> str:
    return ", ".join(f'"{field.name}"' for field in BY_NAME[table].columns)


def _listed(paths: Sequence[str]) -> str:
    return f"[{', '.join(literal(path) for path in paths)}]"


def _read(table: str, listed: str, condition: str) -> str:
    """Return the query for rows of files; a column that none of them has yet is null."""
    read = f"read_parquet({listed}, union_by_name = true, hive_partitioning = false)"
    return f"SELECT * FROM {read} WHERE {condition} UNION ALL BY NAME SELECT * FROM raw.{table}_empty"


def _within(view: str) -> list[str]:
    """Return the conditions that ids lie within what was asked; what is not registered is asked by its path."""
    told = []
    for column in SOURCES[view].sorted_by:
        within = f'"{column}" BETWEEN {_ends(view)}.{column}_low AND {_ends(view)}.{column}_high'
        told.append(f'("{column}" < 0 OR {within})' if column in ("rack", "meter") else within)
    return told


def _ends(view: str) -> str:
    """Return the bounds that a question has set, or those that hold everything."""
    return f"(coalesce(getvariable('{ends_variable(view)}'), {SPREAD[view]}))"
