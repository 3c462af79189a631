"""`wattline top`: racks, feeds, rows, halls and sites against their limits, live."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from datetime import UTC, datetime

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from broker.consumer import follow, read_to_end
from broker.facility import TOPIC as FACILITY
from broker.facility import read_registry
from schemas.health import TOPIC as HEALTH
from wattline import keys, summary
from wattline.options import bootstrap_option
from wattline.view import KEYS, View, after
from web.live import KINDS, LiveState, kept_up, state_now
from web.workers import Workers

REDRAW_SECONDS = 0.5
_ALERTS = 6
_LINES_AROUND = _ALERTS + 7
"""Keys, sentence, who is in no facility, alerts, the head of the table and what it says below."""


@click.command()
@click.option("--once", is_flag=True, help="Print one picture and end; exit code 1 where there is no data.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--most", type=click.IntRange(1), default=10, show_default=True, help="Rows of each kind in the table.")
@bootstrap_option
def command(once: bool, form: str, most: int, bootstrap: str) -> None:
    """Watch racks, feeds, halls and sites against their limits, the nearest first; q ends it."""
    if form == "json" and not once:
        raise click.UsageError("--format json is one picture: add --once")
    if not once and not sys.stdout.isatty():
        raise click.UsageError("stdout is no terminal to draw on: add --once")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_once(bootstrap, form, most) if once else _watch(bootstrap, most))


async def _once(bootstrap: str, form: str, most: int) -> None:
    now = datetime.now(UTC)
    state = await state_now(bootstrap, await read_registry(bootstrap), now)
    workers = Workers()
    workers.take(await read_to_end(bootstrap, HEALTH))
    unregistered = workers.unregistered(now)
    if form == "json":
        click.echo(json.dumps(summary.as_json(state, now, unregistered), ensure_ascii=False))
    else:
        Console().print(summary.picture(state, now, most=most, unregistered=unregistered))
    if state.newest is None:
        click.echo("no window in the last hour: do telemetry and `wattline run` flow?", err=True)
        raise click.exceptions.Exit(1)


async def _watch(bootstrap: str, most: int) -> None:
    started = datetime.now(UTC)
    state = await state_now(bootstrap, await read_registry(bootstrap), started)
    workers = Workers()
    hearing = [
        asyncio.create_task(_hear(workers, bootstrap)),
        asyncio.create_task(_move(state, bootstrap, started)),
    ]
    try:
        async with kept_up(state, bootstrap, started):
            await Watch(state, most, workers).run()
    finally:
        for each in hearing:
            each.cancel()


async def _hear(workers: Workers, bootstrap: str) -> None:
    async for message in follow(bootstrap, HEALTH, "earliest"):
        workers.take([message])


async def _move(state: LiveState, bootstrap: str, since: datetime) -> None:
    """Show the racks of each newer version of the facility."""
    async for _ in follow(bootstrap, FACILITY, int(since.timestamp() * 1_000_000)):
        state.move_to(await read_registry(bootstrap))


class Watch:
    """Draw the state twice a second and at every key, until `q`."""

    def __init__(self, state: LiveState, most: int, workers: Workers) -> None:
        self._state, self._most, self._workers = state, most, workers
        self._console = Console()
        self._view: View | None = View()
        self._touched = asyncio.Event()

    async def run(self) -> None:
        """Return when a key ends the watch."""
        screen = Live(console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop")
        with screen, keys.pressed(self._press):
            while self._view is not None:
                screen.update(self._picture(self._view), refresh=True)
                self._touched.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._touched.wait(), REDRAW_SECONDS)

    def _press(self, key: str) -> None:
        if self._view is not None:
            subjects = self._state.subjects(datetime.now(UTC)).group_by("kind", maintain_order=True).len()
            self._view = after(self._view, key, dict(subjects.iter_rows()), self._page)
            self._touched.set()

    @property
    def _page(self) -> int:
        return max(1, self._console.height - _LINES_AROUND)

    def _picture(self, view: View) -> RenderableType:
        most = self._page if view.kind else max(1, min(self._most, self._page // len(KINDS) - 1))
        now = datetime.now(UTC)
        unregistered = self._workers.unregistered(now)
        drawn = summary.picture(self._state, now, most=most, alerts=_ALERTS, view=view, unregistered=unregistered)
        return Group(Text(KEYS, style="dim"), drawn)
