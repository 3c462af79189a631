"""`wattline kafka`: the embedded Kafka by itself."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from broker import admin, background


@click.group()
def command() -> None:
    """Start, stop or look at the embedded Kafka."""


@command.command()
@click.option("--port", default=background.USUAL_PORT, show_default=True, help="Port for clients; 0 = any free one.")
@click.option("--folder", type=click.Path(path_type=Path), help="Data folder; the log is written beside it.")
def start(port: int, folder: Path | None) -> None:
    """Start Kafka in the background, with all topics."""
    _say("started", background.start(folder, port or None))


@command.command()
def stop() -> None:
    """Stop the Kafka that `start` started; its data stays."""
    stopped = background.stop()
    click.echo(f"stopped; data stay in {stopped.folder}")


@command.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status(form: str) -> None:
    """Say whether Kafka runs, where, and where its data and log are; exit code 1 where it does not."""
    found = background.running()
    if form == "json":
        click.echo(json.dumps({"running": found is not None, **(asdict(found) if found else {})}))
    elif found:
        _say("runs", found)
        click.echo(f"topics  {len(asyncio.run(admin.partitions(found.bootstrap)))}")
    else:
        click.echo("no Kafka of `wattline kafka start` runs", err=True)
    if not found:
        sys.exit(1)


def _say(verb: str, kafka: background.Running) -> None:
    click.echo(f"Kafka {verb} at {kafka.bootstrap} (pid {kafka.pid})\ndata    {kafka.folder}\nlog     {kafka.log_path}")
