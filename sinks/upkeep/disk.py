"""What a lake takes, how it grows by its own append times, how long the disk lasts, and what a budget does to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from sinks.lake.log_check import SET_ASIDE
from sinks.lake.tables import BY_NAME
from sinks.sql.definition import SETTINGS
from sinks.sql.dimensions import frames, read_registry
from sinks.upkeep.budget import growth
from sinks.upkeep.damage import missing_note
from sinks.upkeep.files import live_files
from sinks.upkeep.retention import plan_of
from sinks.upkeep.scrub import oldest_wait
from sinks.upkeep.settings import Keeping, UpkeepSettings, read_settings

HORIZON_DAYS = 3_650


@dataclass(frozen=True)
class Disk:
    """Show what a lake takes and for how long there is room; by table where it says so.

    `days_left` is None where the disk does not fill within ten years, as tables lose as much as they get. `racks` is
    None where no facility can be read. `shortened` holds the days that a table is kept for the sake of the budget.
    """

    live_bytes: dict[str, int]
    growth_bytes_a_day: dict[str, float]
    unused_bytes: int
    set_aside_bytes: int
    free_bytes: int
    days_left: int | None
    racks: int | None
    settings: UpkeepSettings
    shortened: dict[str, int]
    holds_budget: bool
    missing: str | None
    oldest_hash: timedelta

    @property
    def holds_days(self) -> float | None:
        """Return how many days of the present growth the budget takes, or the disk where there is none."""
        daily = sum(self.growth_bytes_a_day.values())
        room = self.settings.disk_budget_bytes or sum(self.live_bytes.values()) + self.free_bytes
        return room / daily if daily else None


def read_disk(lake: Path, now: datetime, free_bytes: int | None = None) -> Disk:
    """Return what the lake takes and for how long there is room (its disk's, if not given); nothing is changed."""
    settings = read_settings(lake)
    files = {name: live_files(lake, BY_NAME[name]) for name in settings.tables}
    live = {name: int(frame["bytes"].sum()) for name, frame in files.items()}
    grows = {name: growth({name: frame}, now) for name, frame in files.items()}
    planned = plan_of(files, now, settings)
    parquet, aside = _on_disk(lake)
    free = shutil.disk_usage(lake).free if free_bytes is None else free_bytes
    days = {name: _days(frame, now) for name, frame in files.items()}
    return Disk(
        live,
        grows,
        max(0, parquet - sum(live.values())),
        aside,
        free,
        days_left(grows, days, settings.tables, free),
        _racks(lake),
        settings,
        planned.shortened,
        planned.is_enough,
        missing_note(lake),
        oldest_wait(lake, now),
    )


def days_left(
    growths: Mapping[str, float], days: Mapping[str, float], tables: Mapping[str, Keeping], free_bytes: int
) -> int | None:
    """Return in how many days the disk is full; None = not within ten years. Pure.

    A table grows until it holds `keep_days`; `days` is how many it holds now.
    """
    free = float(free_bytes)
    for day in range(HORIZON_DAYS):
        free -= sum(
            rate for name, rate in growths.items() if days[name] + day < (tables[name].keep_days or float("inf"))
        )
        if free < 0:
            return day
    return None


def sentences(disk: Disk, now: datetime) -> Iterator[str]:
    """Yield what a person wants to know, a line each."""
    daily, live = sum(disk.growth_bytes_a_day.values()), sum(disk.live_bytes.values())
    racks = "" if disk.racks is None else f" at {disk.racks:,} racks"
    yield (
        f"disk: {_size(live)} live, {_size(disk.unused_bytes)} unused and waiting for vacuum, "
        f"{_size(disk.set_aside_bytes)} set aside; {_size(disk.free_bytes)} free"
    )
    if disk.days_left is not None:
        full = f"the disk is full in {disk.days_left:,} days, on {now + timedelta(days=disk.days_left):%Y-%m-%d}"
    else:
        full = "the disk lasts, since tables lose what is older than their days"
    yield f"growth: {_size(daily)} a day{racks}" + (f"; {full}" if daily else "")
    if disk.settings.disk_budget_bytes and disk.holds_days is not None:
        yield f"budget: {_size(disk.settings.disk_budget_bytes)} holds {disk.holds_days:,.1f} days{racks}"
    for table, kept in disk.shortened.items():
        usual = disk.settings.tables[table].keep_days
        yield f"budget: {table} is kept {kept} days instead of {'for ever' if usual is None else f'{usual:g}'}"
    if not disk.holds_budget:
        yield "budget: NOT HELD: no table may be shortened further (least_days in lake.toml)"
    yield (
        f"files: each hashed or written within the last {disk.oldest_hash / timedelta(days=1):.1f} days "
        f"(scrub_days {disk.settings.scrub_days:g})"
    )
    if disk.missing:
        yield f"damage: {disk.missing}"


def _size(count: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.2f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _on_disk(lake: Path) -> tuple[int, int]:
    """Return the bytes of all Parquet files of tables, and of what was set aside."""
    parquet = aside = 0
    for folder, _, names in os.walk(lake):
        for name in names:
            try:
                size = (Path(folder) / name).stat().st_size
            except FileNotFoundError:
                continue
            if Path(folder).name == SET_ASIDE:
                aside += size
            elif name.endswith(".parquet") and Path(folder).name.startswith("hour="):
                parquet += size
    return parquet, aside


def _days(files: pl.DataFrame, now: datetime) -> float:
    first = files["low"].min()
    return (now.replace(tzinfo=None) - first) / timedelta(days=1) if isinstance(first, datetime) else 0.0


def _racks(lake: Path) -> int | None:
    try:
        with duckdb.connect(":memory:", config=dict(SETTINGS)) as connection:
            registry = read_registry(lake, connection)
    except duckdb.Error:  # a damaged file, which the scrubber finds; the rest is worth knowing
        return None
    return None if registry is None else frames(registry)["racks_by_id"].height
