"""What a question asks of each view, as DuckDB itself pushes it down: conditions on columns, told by its optimizer.

The question is planned over empty relations of the schema `planned` instead of the views that read files. What
DuckDB then puts into a scan is true of every row that the scan gives, through joins, views, windows and arithmetic on
time. Only what is understood here is used; everything else leaves a condition out, which reads more and never less.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import duckdb

PLANNED = "planned"
"""The schema of the empty relations."""

# What concludes from how many rows there are would conclude from none; the rest of these cost time and say nothing.
_LEFT_OUT = (
    "statistics_propagation,empty_result_pullup,join_filter_pushdown,join_order,build_side_probe_side,row_group_pruner,"
    "limit_pushdown,top_n,top_n_window_elimination,late_materialization,compressed_materialization,join_elimination,"
    "partial_aggregate_pushdown,common_subplan,self_join_aggregate,window_self_join,sampling_pushdown,"
    "partitioned_execution,reorder_filter"
)
_EXPLAIN = re.compile(r"\s*explain\b(\s+analyze\b)?", re.IGNORECASE)
_COMPARED = {
    "COMPARE_EQUAL": "=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
}
_NUMBERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "TIMESTAMP"})
Constant = int | str


class Compared(NamedTuple):
    """Say that a column compares so with a constant; times are microseconds."""

    sign: str
    constant: Constant


class Either(NamedTuple):
    """Say that one of several holds."""

    conditions: tuple[Condition, ...]


class Both(NamedTuple):
    """Say that all of several hold."""

    conditions: tuple[Condition, ...]


Condition = Compared | Either | Both


class Scan(NamedTuple):
    """Tell of one scan of a view what is asked of its columns."""

    view: str
    conditions: Mapping[str, Condition]


def scans(connection: duckdb.DuckDBPyConnection, question: str) -> list[Scan] | None:
    """Return every scan of a view that a question makes, or None where DuckDB cannot tell them of it."""
    text = _EXPLAIN.sub("", question, count=1)
    told = _planned(connection, text)
    if told is None or told["error"]:
        return None
    return [_scan(node) for plan in told["plans"] for node in _nodes(plan) if _is_scan(node)]


def _planned(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any] | None:
    settings = connection.execute("SELECT current_setting('search_path'), current_setting('disabled_optimizers')")
    path, left_out = settings.fetchall()[0]
    try:
        connection.execute(f"SET search_path = '{PLANNED},main'; SET disabled_optimizers = '{_LEFT_OUT}'")
        asked = "SELECT json_serialize_plan(?, optimize := true, skip_empty := false, skip_null := false)"
        return json.loads(connection.execute(asked, [text]).fetchall()[0][0])
    except (duckdb.Error, ValueError, RecursionError):  # the question itself will say what is wrong with it
        return None
    finally:
        connection.execute(f"SET search_path = '{path}'; SET disabled_optimizers = '{left_out}'")


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    waiting = [plan]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node["children"]


def _is_scan(node: dict[str, Any]) -> bool:
    return node["type"] == "LOGICAL_GET" and node.get("function_data", {}).get("schema") == PLANNED


def _scan(node: dict[str, Any]) -> Scan:
    conditions = {}
    for each in node["table_filters"]["filters"]:
        condition = _condition(each["value"])
        column = node["column_indexes"][each["key"]]["index"]
        if condition is not None and column < len(node["names"]):
            conditions[node["names"][column]] = condition
    return Scan(node["function_data"]["table"], conditions)


def _condition(told: dict[str, Any]) -> Condition | None:
    """Return a filter as a condition; None for what is not understood, which asks for nothing then."""
    match told["filter_type"].removeprefix("LEGACY_"):
        case "CONSTANT_COMPARISON" if told["comparison_type"] in _COMPARED:
            constant = _constant(told["constant"])
            return None if constant is None else Compared(_COMPARED[told["comparison_type"]], constant)
        case "IN_FILTER":
            constants = [_constant(each) for each in told["values"]]
            known = tuple(Compared("=", each) for each in constants if each is not None)
            return Either(known) if len(known) == len(constants) else None
        case "OPTIONAL_FILTER" if told["child_filter"]:
            return _condition(told["child_filter"])
        case "CONJUNCTION_AND":
            return _both([_condition(each) for each in told["child_filters"]])
        case "CONJUNCTION_OR":
            parts = [_condition(each) for each in told["child_filters"]]
            understood = tuple(each for each in parts if each is not None)
            return Either(understood) if len(understood) == len(parts) else None
    return None


def _both(parts: Sequence[Condition | None]) -> Condition | None:
    known = tuple(each for each in parts if each is not None)
    return Both(known) if known else None


def _constant(told: dict[str, Any]) -> Constant | None:
    kind, value = told["type"]["id"], told.get("value")
    if told["is_null"]:
        return None
    if kind == "VARCHAR" and isinstance(value, str):
        return value
    return value if kind in _NUMBERS and isinstance(value, int) else None


class Bounds(NamedTuple):
    """Bound a number from below and above, inclusive; None is open."""

    low: int | None
    high: int | None


OPEN = Bounds(None, None)


def bounds(condition: Condition | None) -> Bounds:
    """Return the bounds between which every number lies that meets a condition; `low` > `high` where none does."""
    match condition:
        case Compared(sign, int(constant)):
            low, high = sign in ("=", ">", ">="), sign in ("=", "<", "<=")
            return Bounds(constant if low else None, constant if high else None)
        case Both(parts):
            each = [bounds(part) for part in parts]
            lows, highs = _known(one.low for one in each), _known(one.high for one in each)
            return Bounds(max(lows, default=None), min(highs, default=None))
        case Either(parts):
            return hull([bounds(part) for part in parts])
    return OPEN


def hull(each: Sequence[Bounds]) -> Bounds:
    """Return the least bounds that hold all of several."""
    lows, highs = _known(one.low for one in each), _known(one.high for one in each)
    return Bounds(
        min(lows, default=None) if len(lows) == len(each) else None,
        max(highs, default=None) if len(highs) == len(each) else None,
    )


def _known(numbers: Iterator[int | None]) -> list[int]:
    return [each for each in numbers if each is not None]


def as_sql(condition: Condition, column: str) -> str:
    """Return a condition on a column as SQL."""
    match condition:
        case Compared(sign, constant):
            return f"{column} {sign} {literal(constant)}"
        case Both(parts):
            return "(" + " AND ".join(as_sql(each, column) for each in parts) + ")"
        case Either(parts):
            return "(" + (" OR ".join(as_sql(each, column) for each in parts) or "false") + ")"


def literal(value: Constant) -> str:
    """Return a constant as SQL writes it."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
