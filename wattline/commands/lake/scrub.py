"""`wattline lake scrub`: every file against the hash in its name."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import click

from schemas.admission import Clock
from schemas.errors import UnavailableError
from sinks.upkeep.loop import alone
from sinks.upkeep.refill import Kafka, refill
from sinks.upkeep.scrub import scrub
from sinks.upkeep.settings import read_settings
from wattline.options import bootstrap_option, lake_option


@click.command("scrub")
@lake_option
@bootstrap_option
@click.option("--clock", type=click.Choice(["wall", "event"]), default="wall", help="That of the lake writer.")
def command(lake: Path, bootstrap: str, clock: Clock) -> None:
    """Hold every file of the lake against the hash in its name, now.

    A damaged file is set aside and its rows are fetched from Kafka where that still has them. `wattline run` does it
    by itself, every file within `scrub_days` (lake.toml; 7). Exit code 1 where rows are missing.
    """
    now = datetime.now(UTC)
    with alone(lake, threading.Event(), lambda: click.echo("waiting for a duty of upkeep to end", err=True)):
        done = scrub(lake, now, read_settings(lake), 0, everything=True)
        click.echo(f"{done.files:,} files, {done.bytes / 1e6:,.1f} MB; {len(done.damaged)} are damaged")
        missing = False
        try:
            for damage in refill(lake, Kafka(bootstrap, clock), now):
                click.echo(str(damage))
                missing |= damage.lost != 0
        except UnavailableError as error:
            click.echo(f"Kafka was not asked, it is tried again by upkeep: {error}", err=True)
            missing = True
    if missing:
        raise SystemExit(1)
