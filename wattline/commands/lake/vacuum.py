"""`wattline lake vacuum`: files that no table has any more, or never had."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import click

from sinks.upkeep.loop import alone
from sinks.upkeep.settings import read_settings
from sinks.upkeep.vacuum import vacuum
from wattline.options import lake_option


@click.command("vacuum")
@lake_option
@click.option("--dry-run", is_flag=True, help="Say what would go and remove nothing.")
def command(lake: Path, dry_run: bool) -> None:
    """Remove files that no table has had for `keep_removed_hours` (lake.toml; a day).

    `wattline run` does it every hour by itself. A file that was never seen unused before begins to wait now.
    """
    settings = read_settings(lake)
    with alone(lake, threading.Event(), lambda: click.echo("waiting for a duty of upkeep to end", err=True)):
        done = vacuum(lake, datetime.now(UTC), settings, dry_run=dry_run)
    for sentence in done.damaged:
        click.echo(sentence, err=True)
    if dry_run:
        for path in done.removed:
            click.echo(path)
    click.echo(
        f"{'would remove' if dry_run else 'removed'} {len(done.removed):,} files, {done.removed_bytes / 1e6:,.1f} MB; "
        f"{done.waiting:,} unused files, {done.waiting_bytes / 1e6:,.1f} MB, wait for "
        f"{settings.keep_removed_hours:g} h to be over"
    )
