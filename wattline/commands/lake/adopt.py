"""`wattline lake adopt`: the explicit way on where Kafka no longer has what a table needs next."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from sinks.upkeep.adoptions import adopt, find_adoptions, without_writers
from wattline.options import bootstrap_option, lake_option


@click.command("adopt")
@lake_option
@bootstrap_option
@click.option("--yes", is_flag=True, help="Go on without asking.")
def command(lake: Path, bootstrap: str, yes: bool) -> None:
    """Say what Kafka no longer has for the lake, and go on without it.

    A writer halts where a topic lost messages before they were written, or was made anew. This says for every table
    what is lost and where it would go on, and moves it there once you agree. What was given up is kept in the table
    `adoptions`. Exit code 1 where something is lost and nothing was changed.
    """
    with without_writers(lake):
        found = asyncio.run(find_adoptions(bootstrap, lake))
        for each in found:
            click.echo(each.sentence)
        if not found:
            click.echo("Every log goes on where the tables stopped: nothing to adopt.")
        elif yes or _is_agreed():
            adopt(lake, found, datetime.now(UTC))
            click.echo(f"Adopted: {len(found)} positions moved, the writer goes on. What was lost is in `adoptions`.")
        else:
            click.echo("Nothing was changed. `wattline lake adopt --yes` goes on without what is lost.", err=True)
            sys.exit(1)


def _is_agreed() -> bool:
    return sys.stdin.isatty() and click.confirm("Go on without what is lost?", default=False, err=True)
