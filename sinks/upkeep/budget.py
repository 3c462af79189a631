"""How much a lake grows, how long its disk lasts, and which table is kept for how long so that a budget is held: pure.

Ages are whole days since a file's newest row was appended. Tables are shortened in the order of `settings.DEFAULTS`,
each down to its floor before the next, oldest day first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from sinks.upkeep.settings import Keeping

GROWTH_DAYS = 8
_LEAST_SPAN_DAYS = 1 / 24

Sizes = Mapping[str, Mapping[int, int]]
"""Bytes of live files by table and age in days."""


class Plan(NamedTuple):
    """Say below which age each shortened table is kept, what is left then, and whether that holds the budget."""

    shortened: dict[str, int]
    left_bytes: int
    is_enough: bool


def plan(sizes: Sizes, limit_bytes: float | None, tables: Mapping[str, Keeping]) -> Plan:
    """Return how far tables are shortened so that what is left is at most `limit_bytes`; never below `least_days`."""
    left = sum(sum(ages.values()) for ages in sizes.values())
    if limit_bytes is None:
        return Plan({}, left, is_enough=True)
    shortened: dict[str, int] = {}
    for table, keeping in tables.items():
        if keeping.least_days is None:
            continue
        for age in sorted(sizes.get(table, {}), reverse=True):
            if left <= limit_bytes or age < keeping.least_days:
                break
            shortened[table] = age
            left -= sizes[table][age]
    return Plan(shortened, left, is_enough=left <= limit_bytes)


def ages(files: pl.DataFrame, now: datetime) -> dict[int, int]:
    """Return the bytes of files by the age in days of their newest row; `files` is that of `files.live_files`."""
    aged = files.drop_nulls("high").group_by(_age(now)).agg(pl.col("bytes").sum())
    return dict(aged.sort("age").iter_rows())


def growth(files: Mapping[str, pl.DataFrame], now: datetime) -> float:
    """Return the bytes a day that were appended in the last eight days, or since the lake began."""
    since = now.replace(tzinfo=None) - timedelta(days=GROWTH_DAYS)
    recent = pl.concat([frame.filter(pl.col("high") > since) for frame in files.values()])
    first = recent["low"].min()
    if not isinstance(first, datetime):
        return 0.0
    span = now.replace(tzinfo=None) - max(first, since)
    return float(recent["bytes"].sum()) / max(span / timedelta(days=1), _LEAST_SPAN_DAYS)


def limit(budget_bytes: int | None, growth_bytes: float, keep_removed_hours: float) -> float | None:
    """Return what live files may take so that the disk never holds more than the budget.

    Beside them lie those that compaction has merged and those that retention took out, each of them for
    `keep_removed_hours`: twice what comes in that time.
    """
    return None if budget_bytes is None else budget_bytes - 2 * growth_bytes * keep_removed_hours / 24


def _age(now: datetime) -> pl.Expr:
    return ((pl.lit(now.replace(tzinfo=None)) - pl.col("high")).dt.total_days()).clip(lower_bound=0).alias("age")
