"""`wattline run`: the streams, the lake writer and the web app against a Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import click

from broker import facility as published
from broker import ports
from broker.admin import create_topics
from broker.folders import user_folder
from broker.supervisor import Supervisor, first_free_slot, lock_folder
from schemas.errors import ConfigurationError
from schemas.facility import load
from schemas.rules import load_rules
from wattline.options import bootstrap_option, lake_option
from wattline.parts import PARTS, WEB_PORT, Settings, free_web_port, workers

LOOK_AGAIN_SECS = 1.0


class Parts(click.ParamType):
    """Read `roll-up,lake` as a tuple of parts."""

    name = "parts"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the parts named; fail with those that exist where one is unknown."""
        if isinstance(value, tuple):
            return value
        chosen = tuple(part.strip() for part in str(value).split(","))
        if unknown := [part for part in chosen if part not in PARTS]:
            self.fail(f"{unknown[0]!r} is not a part; parts are {', '.join(PARTS)}", param, ctx)
        return chosen


@click.command()
@click.argument("facility", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--rules", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Rules instead of ours.")
@bootstrap_option
@lake_option
@click.option("--only", type=Parts(), default=PARTS, show_default=",".join(PARTS), help="Parts to run, with commas.")
@click.option("--workers", "count", type=click.IntRange(1, 16), default=1, show_default=True, help="Roll-up workers.")
@click.option("--any-slot", is_flag=True, help="Take a free slot of roll-up: for more of the same run, and containers.")
@click.option("--first-slot", type=click.IntRange(0), default=0, help="Of roll-up; another on each machine.")
@click.option("--standby", is_flag=True, help="Keep a second worker ready for each of roll-up and evaluate.")
@click.option("--groups", type=click.IntRange(1, 2), default=1, show_default=True, help="2: alerts through any kill.")
@click.option("--clock", type=click.Choice(["wall", "event"]), default="wall", show_default=True, help="See replay.")
@click.option("--web-port", type=click.IntRange(1, 65535), help=f"Of the app. [default: {WEB_PORT}, or a free one]")
@click.option("--replication", type=click.IntRange(1, 3), default=1, show_default=True, help="Of topics made now.")
def command(  # noqa: PLR0917
    facility: Path | None,
    rules: Path | None,
    bootstrap: str,
    lake: Path,
    only: tuple[str, ...],
    count: int,
    any_slot: bool,
    first_slot: int,
    standby: bool,
    groups: int,
    clock: str,
    web_port: int | None,
    replication: int,
) -> None:
    """Run the streams, the lake writer and the web app against a Kafka until stopped.

    Makes the topics that are missing, publishes FACILITY where one is given (else the one in force counts, and
    is waited for where there is none), and keeps every worker alive. Rules are those of --rules, else those of
    FACILITY, else ours.
    """
    rules = rules or facility
    if rules is not None:
        load_rules(rules)
    if any_slot and only != ("roll-up",):
        raise click.UsageError("--any-slot goes with --only roll-up: of every other part one is enough")
    first_slot = first_free_slot(lock_folder(bootstrap), "roll-up") if any_slot else first_slot
    if web_port and "web" in only:
        ports.refuse_taken(web_port)
    port, rules = web_port or free_web_port(), rules and rules.resolve()
    settings = Settings(bootstrap, lake.resolve(), clock, rules, count, first_slot, port, standby, groups)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_prepare(bootstrap, facility, replication))
        _run(only, settings)


def _run(only: tuple[str, ...], settings: Settings) -> None:
    """Keep the workers alive until stopped."""
    logs = user_folder() / "logs"
    click.echo(f"running {', '.join(only)} on {settings.bootstrap}; lake {settings.lake}; logs {logs}", err=True)
    if "web" in only:
        click.echo(f"health and metrics at http://127.0.0.1:{settings.web_port}/", err=True)
    with Supervisor(workers(only, settings), logs, locks=lock_folder(settings.bootstrap)) as supervisor:
        supervisor.wait_for_signal()


async def _prepare(bootstrap: str, facility: Path | None, replication: int) -> None:
    await create_topics(bootstrap, replication=replication)
    if facility is not None:
        await published.publish(bootstrap, load(facility))
    else:
        await _until_published(bootstrap)


async def _until_published(bootstrap: str) -> None:
    """Wait for a facility, saying so once: what is sent meanwhile stays in Kafka."""
    has_said = False
    while True:
        try:
            await published.read_registry(bootstrap)
            return
        except ConfigurationError as error:
            if not has_said:
                click.echo(f"waiting: {error}", err=True)
            has_said = True
        await asyncio.sleep(LOOK_AGAIN_SECS)
