"""`wattline top`: racks, feeds, rows, halls and sites against their limits, live."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.live import Live

from broker.facility import read_registry
from wattline import summary
from wattline.live import KINDS, kept_up, state_now
from wattline.options import bootstrap_option

REDRAW_SECONDS = 0.5
_LINES_ABOVE = 12
"""The sentence, the alerts and the head of the table."""


@click.command()
@click.option("--once", is_flag=True, help="Print one picture and end; exit code 1 where there is no data.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--most", type=click.IntRange(1), default=10, show_default=True, help="Rows of each kind in the table.")
@bootstrap_option
def command(once: bool, form: str, most: int, bootstrap: str) -> None:
    """Watch racks, feeds, halls and sites against their limits, the nearest first; Ctrl-C ends it."""
    if form == "json" and not once:
        raise click.UsageError("--format json is one picture: add --once")
    if not once and not sys.stdout.isatty():
        raise click.UsageError("stdout is no terminal to draw on: add --once")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_once(bootstrap, form, most) if once else _watch(bootstrap, most))


async def _once(bootstrap: str, form: str, most: int) -> None:
    now = datetime.now(UTC)
    state = await state_now(bootstrap, await read_registry(bootstrap), now)
    if form == "json":
        click.echo(json.dumps(summary.as_json(state, now), ensure_ascii=False))
    else:
        Console().print(summary.picture(state, now, most=most))
    if state.newest is None:
        click.echo("no window in the last hour: do telemetry and `wattline run` flow?", err=True)
        raise click.exceptions.Exit(1)


async def _watch(bootstrap: str, most: int) -> None:
    started = datetime.now(UTC)
    state = await state_now(bootstrap, await read_registry(bootstrap), started)
    async with kept_up(state, bootstrap, started):
        with Live(screen=True, auto_refresh=False, vertical_overflow="crop") as screen:
            while True:
                fitting = (screen.console.height - _LINES_ABOVE) // len(KINDS)
                now = datetime.now(UTC)
                screen.update(summary.picture(state, now, most=max(1, min(most, fitting))), refresh=True)
                await asyncio.sleep(REDRAW_SECONDS)
