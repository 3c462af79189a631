"""`wattline lake restore`: a lake from a backup."""

from __future__ import annotations

from pathlib import Path

import click

from sinks.upkeep.restore import restore


@click.command("restore")
@click.argument("source", metavar="SRC", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("lake", metavar="LAKE", type=click.Path(file_okay=False, path_type=Path))
@click.option("--point", metavar="NAME", help="Another point than the newest.")
@click.option("--despite-damage", is_flag=True, help="Leave out what is damaged in SRC, and name it.")
def command(source: Path, lake: Path, point: str | None, despite_damage: bool) -> None:
    """Bring a point of the backup in SRC into the empty folder LAKE.

    Then start the lake writer: it fetches from Kafka all that came after the point. Where Kafka no longer has it,
    the writer halts and says what is lost.
    """
    done = restore(source, lake, name=point, despite_damage=despite_damage)
    click.echo(f"{lake}: point {done.point.name}, {done.files:,} files, {done.bytes / 1e6:,.1f} MB. Start the writer.")
    for path in done.damaged:
        click.echo(f"left out: {path}", err=True)
    if done.damaged:
        click.echo("queries that need them fail until `wattline lake scrub` has set them aside", err=True)
        raise SystemExit(1)
