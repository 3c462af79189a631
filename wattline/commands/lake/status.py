"""`wattline lake status`: what a lake holds and how far it is."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table as Grid

from schemas.errors import UnavailableError
from sinks.lake.log_reader import read_ends
from sinks.lake.positions import Source
from sinks.lake.status import TableStatus, read_status, sources_of
from sinks.lake.tables import TABLES
from sinks.upkeep.disk import Disk, read_disk, sentences
from wattline.options import bootstrap_option, lake_option


@click.command("status")
@lake_option
@bootstrap_option
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--disk", is_flag=True, help="Only what the lake takes and for how long there is room.")
def command(lake: Path, bootstrap: str, form: str, disk: bool) -> None:
    """Show rows, files, newest times and positions of every table, and its lag where Kafka answers.

    Then how much the lake takes, how it grows, when the disk is full, what the budget of lake.toml does, and what is
    damaged.
    """
    now = datetime.now(UTC)
    if disk:
        read_status(lake)  # says where there is no lake
        _show_disk(read_disk(lake, now), form, now)
        return
    tables = read_status(lake, _ends(bootstrap))
    if form == "json":
        click.echo(json.dumps([_as_json(table) for table in tables], indent=2))
    else:
        Console().print(_grid(tables))
        _show_disk(read_disk(lake, now), form, now)


def _show_disk(disk: Disk, form: str, now: datetime) -> None:
    if form == "table":
        for sentence in sentences(disk, now):
            click.echo(sentence)
        return
    numbers = {name: value for name, value in vars(disk).items() if name not in ("settings", "oldest_hash")}
    told = {
        "holds_days": disk.holds_days,
        "disk_budget_bytes": disk.settings.disk_budget_bytes,
        "oldest_hash_secs": round(disk.oldest_hash.total_seconds()),
    }
    click.echo(json.dumps(numbers | told, indent=2))


def _ends(bootstrap: str) -> dict[Source, int] | None:
    """Return the ends of the logs, None with a word on stderr where Kafka does not answer."""
    try:
        return asyncio.run(read_ends(bootstrap, {source for table in TABLES for source in sources_of(table)}))
    except UnavailableError as error:
        click.echo(f"lag is not known: {error}", err=True)
        return None


def _as_json(table: TableStatus) -> dict[str, object]:
    positions = [
        {
            "topic": source.topic,
            "partition": source.partition,
            "next_offset": offset,
            "lag": None if table.lag is None else table.lag[source],
        }
        for source, offset in table.positions.items()
    ]
    times = {
        name: None if time is None else f"{time.isoformat(timespec='microseconds')}Z"
        for name, time in (("newest_event", table.newest_event), ("newest_append", table.newest_append))
    }
    counts = {name: getattr(table, name) for name in ("table", "version", "rows", "files", "bytes")}
    return counts | times | {"positions": positions}


def _grid(tables: list[TableStatus]) -> Grid:
    grid = Grid(box=None, pad_edge=False)
    for name in ("table", "rows", "files", "MB", "newest event", "appended, UTC", "lag"):
        grid.add_column(name, no_wrap=True, justify="right" if name in ("rows", "files", "MB", "lag") else "left")
    for table in tables:
        times = (
            "—" if time is None else f"{time:%Y-%m-%d %H:%M:%S}" for time in (table.newest_event, table.newest_append)
        )
        lag = "—" if table.lag is None else f"{sum(table.lag.values()):,}"
        grid.add_row(table.table, f"{table.rows:,}", f"{table.files:,}", f"{table.bytes / 1e6:.1f}", *times, lag)
    return grid
