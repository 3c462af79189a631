"""`wattline lake backup`: a copy of the lake as it is at one moment, while writers go on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from sinks.upkeep.backup import KEEP_POINTS, back_up
from wattline.options import lake_option


@click.command("backup")
@click.argument("destination", metavar="DEST", type=click.Path(file_okay=False, path_type=Path))
@lake_option
@click.option("--keep", type=click.IntRange(1), default=KEEP_POINTS, show_default=True, help="Points that stay.")
@click.option("--link", is_flag=True, help="Hard links in place of copies: same disk, and no help against it.")
@click.option("--check", is_flag=True, help="Hash every file that is in DEST already, too.")
def command(destination: Path, lake: Path, keep: int, link: bool, check: bool) -> None:
    """Add the lake as it is at this moment to the backups in DEST.

    Writers go on. Only files that DEST does not have are copied, each is held against the hash in its name, and a
    backup that was interrupted goes on where it was.
    """
    done = back_up(lake, destination, datetime.now(UTC), keep=keep, link=link, check=check)
    rows = sum(table.rows for table in done.point.tables.values())
    files = sum(len(table.files) for table in done.point.tables.values())
    click.echo(
        f"point {done.point.name}: {rows:,} rows in {files:,} files of {len(done.point.tables)} tables; "
        f"{done.copied_files:,} files brought, {done.copied_bytes / 1e6:,.1f} MB"
    )
    if done.removed_points:
        click.echo(f"removed {done.removed_points} older points and {done.removed_files:,} files of theirs")
