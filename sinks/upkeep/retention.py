"""Rows that are old enough leave their table: by when Kafka got them, whole files, one commit a table and round.

A file leaves when the newest of its rows is old enough, so none goes early and some stay as long as their file is
young. What a row says of its own time counts for nothing: readings recorded in 2024 that came today are a day old
tomorrow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from schemas.errors import ConfigurationError
from sinks.lake.ledger import Ledger
from sinks.lake.tables import BY_NAME
from sinks.upkeep.budget import Plan, ages, growth, limit, plan
from sinks.upkeep.files import live_files
from sinks.upkeep.settings import Keeping, UpkeepSettings, read_settings

log = logging.getLogger(__name__)


def retention_duty(lake: Path, now: datetime) -> Iterator[str]:
    """Do what is due in every table, and say what left it and why."""
    settings = read_settings(lake)
    files: dict[str, pl.DataFrame] = {}
    for name in settings.tables:
        try:
            files[name] = live_files(lake, BY_NAME[name])
        except ConfigurationError as error:  # the other tables have their turn
            yield str(error)
    planned = plan_of(files, now, settings)
    if not planned.is_enough:
        log.error(
            "lake: %.1f GB are over the budget of %.1f GB, and no table may be shortened further (least_days): give "
            "the lake a larger disk, or say in lake.toml what may go",
            planned.left_bytes / 1e9,
            (settings.disk_budget_bytes or 0) / 1e9,
        )
    for name, frame in files.items():
        days, why = _days(name, settings.tables[name], planned)
        due = expired(frame, now, days)
        if due.height:
            Ledger(BY_NAME[name], lake).replace(due["path"].to_list(), [], f"retain/{name}", {"retention": why})
            yield (
                f"{name}: {due['rows'].sum():,} rows in {due.height} files, {due['bytes'].sum() / 1e6:,.1f} MB, left "
                f"the table: appended until {due['high'].max()}Z, {why}"
            )


def plan_of(files: dict[str, pl.DataFrame], now: datetime, settings: UpkeepSettings) -> Plan:
    """Return how the budget shortens what is left once each table's own days are over."""
    kept = {name: _kept(frame, now, settings.tables[name].keep_days) for name, frame in files.items()}
    sizes = {name: ages(frame, now) for name, frame in kept.items()}
    most = limit(settings.disk_budget_bytes, growth(files, now), settings.keep_removed_hours)
    return plan(sizes, most, settings.tables)


def expired(files: pl.DataFrame, now: datetime, days: float | None) -> pl.DataFrame:
    """Return the files whose newest row was appended `days` ago or longer; none where days is None. Pure."""
    return files.clear() if days is None else files.filter(pl.col("high") <= _before(now, days))


def _kept(files: pl.DataFrame, now: datetime, days: float | None) -> pl.DataFrame:
    return files if days is None else files.filter(pl.col("high") > _before(now, days))


def _before(now: datetime, days: float) -> datetime:
    return now.replace(tzinfo=None) - timedelta(days=days)


def _days(name: str, keeping: Keeping, planned: Plan) -> tuple[float | None, str]:
    """Return how long a table is kept, and the reason in words."""
    if name in planned.shortened:
        usual = "for ever" if keeping.keep_days is None else f"{keeping.keep_days:g} days"
        short = planned.shortened[name]
        return short, f"shortened from {usual} to {short} days to hold disk_budget_bytes"
    return keeping.keep_days, f"keep_days {keeping.keep_days or 0:g}"
