"""Point the views of a connection at the files that a question needs, and at no others.

The views read lists of files that are variables of the connection; where they are not set, all live files. So a
question that nobody aimed gets the same answer, only slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import duckdb

from sinks.sql.plan import OPEN, Bounds, Condition, Scan, as_sql, bounds, hull, literal, scans
from sinks.sql.sources import SAME_ROWS, SIDES, SOURCES, Places, ends, ends_variable, lists_variable

MANY_FILES = 500
"""So many files a question may read without a word; each costs a tenth of a millisecond before the first row."""

_UNREGISTERED = frozenset({"gpu", "power"})
"""Tables of which a row may have a negative id and the path it was sent with."""


class Ask(NamedTuple):
    """Tell what one scan of a view asks of one table: a span of its time in µs, and places.

    Of `places` each is a pair of bounds, of the first and the second column that rows are sorted by; None = all.
    """

    view: str
    table: str
    time: Bounds
    places: tuple[tuple[Bounds, Bounds], ...] | None


class Aimed(NamedTuple):
    """Tell of one file of a table whether a question reads it, or else why it does not."""

    table: str
    path: str
    rows: int | None
    bytes: int
    is_settled: bool
    left_out: str | None


def aim(connection: duckdb.DuckDBPyConnection, question: str) -> list[Aimed] | None:
    """Point the views at what `question` needs and return every file of the tables that it reads.

    Return None where DuckDB cannot say what a question needs (a PIVOT without IN, a relation of `raw`, a wrong name):
    the views read all live files then.
    """
    found = scans(connection, question)
    if found is None:
        unaim(connection)
        return None
    asks = [ask for scan in found for ask in _asks(connection, scan)]
    aimed = _files(connection, asks)
    _set(connection, _pointed(connection, asks, aimed))
    return list(aimed.values())


def unaim(connection: duckdb.DuckDBPyConnection) -> None:
    """Point every view at all live files again."""
    listed = "SELECT name FROM duckdb_variables() WHERE starts_with(name, 'wattline_')"
    _set(connection, [f"RESET VARIABLE {name}" for (name,) in connection.execute(listed).fetchall()])


def _set(connection: duckdb.DuckDBPyConnection, statements: Sequence[str]) -> None:
    if statements:
        connection.execute("; ".join(statements))


def _asks(connection: duckdb.DuckDBPyConnection, scan: Scan) -> list[Ask]:
    view = SAME_ROWS.get(scan.view, scan.view)
    source = SOURCES.get(view)
    if source is None:
        return []
    time = bounds(scan.conditions.get(source.time)) if source.time else OPEN
    places = _places(connection, source.places, scan.conditions) if source.places else None
    every = bounds(scan.conditions.get("every_seconds"))
    return [Ask(view, table, time, places) for table in source.tables if _may_be_in(table, every)]


def _may_be_in(table: str, every: Bounds) -> bool:
    """Tell whether windows of these lengths may be in a table: `windows_1s` has those shorter than a minute."""
    too_long = table == "windows_1s" and every.low is not None and every.low >= 60
    too_short = table == "windows_1m" and every.high is not None and every.high < 60
    return not too_long and not too_short


def _places(
    connection: duckdb.DuckDBPyConnection, places: Places, conditions: Mapping[str, Condition]
) -> tuple[tuple[Bounds, Bounds], ...] | None:
    """Return the bounds of the ids of the places that meet conditions on their names; None where nothing is asked."""
    asked = {name: conditions[name] for name in places.columns if name in conditions}
    if not asked:
        return None
    told = " AND ".join(as_sql(condition, name) for name, condition in asked.items())
    second = "second" if places.second and (places.second in asked or places.first == "subject_kind") else "NULL"
    found = connection.execute(
        f"SELECT first, min({second}), max({second}) FROM {places.relation} WHERE {told} GROUP BY first"
    ).fetchall()
    named = [(Bounds(first, first), Bounds(low, high)) for first, low, high in found]
    return (*named, *_job_places(connection, asked if places.jobs else None))


def _job_places(
    connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Condition] | None
) -> tuple[tuple[Bounds, Bounds], ...]:
    """Return the bounds of all jobs where a job may be asked for."""
    if asked is None:
        return ()
    told = as_sql(asked["subject_kind"], "kind.name") if "subject_kind" in asked else "true"
    found = connection.execute(f"SELECT kind FROM raw.subject_kinds AS kind WHERE name = 'job' AND {told}").fetchall()
    return tuple((Bounds(kind, kind), OPEN) for (kind,) in found)


_PRUNED = """
SELECT "table", path, rows, bytes, is_settled, {reason} AS left_out
FROM raw.files WHERE "table" = {table} ORDER BY hour NULLS FIRST, path
"""


def _files(connection: duckdb.DuckDBPyConnection, asks: Sequence[Ask]) -> dict[str, Aimed]:
    """Return every file of the tables asked by its path: one that any scan needs is read."""
    files: dict[str, Aimed] = {}
    for ask in dict.fromkeys(asks):
        query = _PRUNED.format(table=literal(ask.table), reason=_reason(ask))
        for row in connection.execute(query).fetchall():
            each = Aimed(*row)
            known = files.get(each.path)
            files[each.path] = each if known is None or known.left_out else known
    return files


def _reason(ask: Ask) -> str:
    """Return the expression that says why a file has nothing for an ask, null where it may have something."""
    low, high = ask.time
    cases = ["WHEN NOT is_within_span THEN 'span'"]
    cases += [f"WHEN hour_began + 3600000000 <= {low} THEN 'hour'"] * (low is not None)
    cases += [f"WHEN hour_began > {high} THEN 'hour'"] * (high is not None)
    cases += [f"WHEN time_high < {low} THEN 'time'"] * (low is not None)
    cases += [f"WHEN time_low > {high} THEN 'time'"] * (high is not None)
    cases += [f"WHEN NOT ({_has_places(ask)}) THEN 'place'"] * (ask.places is not None)
    return f"CASE {' '.join(cases)} END"


def _has_places(ask: Ask) -> str:
    """Return the condition that a file may hold rows of the places asked; unknown where its bounds are not told."""
    if ask.table in _UNREGISTERED:
        ids = ", ".join(str(first.low) for first, _ in ask.places or ())
        return f"id_low < 0 OR len(list_filter([{ids}]::BIGINT[], lambda one: one BETWEEN id_low AND id_high)) > 0"
    each = [
        f"(kind_low <= {kind.high} AND kind_high >= {kind.low}"
        + (f" AND id_low <= {ids.high} AND id_high >= {ids.low}" if ids.low is not None else "")
        + ")"
        for kind, ids in ask.places or ()
    ]
    return " OR ".join(each) or "false"


def _pointed(connection: duckdb.DuckDBPyConnection, asks: Sequence[Ask], aimed: Mapping[str, Aimed]) -> list[str]:
    """Return the statements that set the variables of every view that is asked."""
    told = []
    for view in dict.fromkeys(ask.view for ask in asks):
        of_view = [ask for ask in asks if ask.view == view]
        tables = {ask.table for ask in of_view}
        wanted = [each for each in aimed.values() if each.table in tables and not each.left_out]
        stand_in = wanted[0].path if wanted else _newest(connection, view)
        if stand_in is not None:
            told += _variables(view, wanted, _within(view, of_view), stand_in)
    return told


def aim_at_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """Point every view, and every relation of `raw`, at one file, so that they are made without opening all files."""
    newest = {view: _newest(connection, view) for view in SOURCES}
    told = [_variables(view, [], {}, path) for view, path in newest.items() if path is not None]
    one = """SELECT "table", arg_max(path, coalesce(hour, '')) FROM raw.files WHERE is_within_span GROUP BY ALL"""
    rows = connection.execute(one).fetchall()
    every_row = [f"SET VARIABLE {lists_variable('raw', table)} = {_listed([path])}" for table, path in rows]
    _set(connection, [*(each for statements in told for each in statements), *every_row])


def _variables(view: str, wanted: Sequence[Aimed], within: Mapping[str, Bounds], stand_in: str) -> list[str]:
    """Return the statements that set the variables of a view.

    No file at all cannot be read: `stand_in` says the columns then, and none of its rows is wanted.
    """
    paths = {side: [each.path for each in wanted if each.is_settled == (side == "settled")] for side in SIDES}
    bounded = dict.fromkeys(SOURCES[view].sorted_by, OPEN) | within
    told = ends({side: bool(listed) for side, listed in paths.items()}, bounded)
    lists = [f"SET VARIABLE {lists_variable(view, side)} = {_listed(paths[side] or [stand_in])}" for side in SIDES]
    return [*lists, f"SET VARIABLE {ends_variable(view)} = {told}"]


def _within(view: str, asks: Sequence[Ask]) -> Mapping[str, Bounds]:
    """Return the bounds of the columns that rows are sorted by, so that whole stretches of a file stay unread."""
    places = [ask.places for ask in asks]
    pairs = [pair for each in places for pair in each or ()]
    if None in places or not pairs:
        return {}
    return {column: hull(each) for column, each in zip(SOURCES[view].sorted_by, zip(*pairs, strict=True), strict=False)}


def _listed(paths: Sequence[str]) -> str:
    return "[" + ", ".join(literal(path) for path in paths) + "]"


def _newest(connection: duckdb.DuckDBPyConnection, view: str) -> str | None:
    """Return the newest file that a view may read."""
    named = ", ".join(literal(table) for table in SOURCES[view].tables)
    asked = f"""SELECT arg_max(path, coalesce(hour, '')) FROM raw.files WHERE is_within_span AND "table" IN ({named})"""
    return connection.execute(asked).fetchall()[0][0]
