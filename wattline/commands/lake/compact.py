"""`wattline lake compact`: compact by hand what upkeep would, or one hour at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from schemas.errors import ConfigurationError, WattlineError
from sinks.lake.ledger import Ledger, ReplacedError
from sinks.lake.tables import BY_NAME, TABLES
from sinks.upkeep.closed import due_hours
from sinks.upkeep.compaction import compact_hour
from sinks.upkeep.loop import alone
from sinks.upkeep.small import open_ledger
from wattline.options import lake_option


@click.command("compact")
@lake_option
@click.option("--table", type=click.Choice([table.name for table in TABLES]), help="Only this one. [default: all]")
@click.option("--hour", metavar="2026-03-01T13", help="This hour, closed or not. [default: all that are due]")
@click.option("--dry-run", is_flag=True, help="Only say what would be compacted.")
def command(lake: Path, table: str | None, hour: str | None, dry_run: bool) -> None:
    """Make few sorted files of the many of each closed hour, as the part `upkeep` does by itself.

    Waits for a duty of upkeep that is under way. What cannot be compacted stays as it is; the exit code is 1 then.
    """
    ledgers = [found for name in ([table] if table else BY_NAME) if (found := open_ledger(BY_NAME[name], lake))]
    if not ledgers:
        raise ConfigurationError(f"no lake at {lake}, or no such table in it: name its folder with --lake")
    with alone(lake, threading.Event(), lambda: click.echo("waiting for the upkeep that is under way", err=True)):
        is_refused = False
        for ledger in ledgers:
            ledger.reopen()
            for each in _hours(ledger, hour):
                is_refused |= not _compacted(ledger, each, dry_run=dry_run)
    sys.exit(int(is_refused))


def _hours(ledger: Ledger, hour: str | None) -> Iterator[str]:
    live = ledger.live().values()
    if hour is None:
        yield from due_hours(live, datetime.now(UTC).replace(tzinfo=None))
    elif any(file.hour == hour and not file.is_of_hour for file in live):
        yield hour


def _compacted(ledger: Ledger, hour: str, *, dry_run: bool) -> bool:
    """Compact an hour and say so, or only say so; return whether nothing kept it from that."""
    if dry_run:
        files = [file for file in ledger.live().values() if file.hour == hour]
        rows, size = sum(file.rows for file in files), sum(file.size for file in files) / 1e6
        click.echo(f"{ledger.table.name} {hour}: {rows:,} rows, {len(files)} files of {size:,.1f} MB")
        return True
    try:
        click.echo(str(compact_hour(ledger, hour)))
    except (WattlineError, ReplacedError) as error:
        click.echo(f"{ledger.table.name} {hour} stays as it is: {error}", err=True)
        ledger.reopen()
        return False
    return True
