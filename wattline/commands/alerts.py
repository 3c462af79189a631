"""`wattline alerts`: the alerts there are, or their transitions as they come."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import click

from broker.consumer import follow as follow_topic
from broker.consumer import read_to_end
from schemas.alert import Alert, decode_alert, encode_alert
from schemas.errors import RejectedRecordError
from schemas.message import Message
from wattline.alert_lines import Once, as_json, as_lines, fold, told
from wattline.options import bootstrap_option

TOPIC = "alerts.v1"


@click.command()
@click.option("--follow", is_flag=True, help="Print transitions as they come, until Ctrl-C.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--state", type=click.Choice(["firing", "all"]), default="firing", show_default=True, help="Which alerts."
)
@click.option("--canary", is_flag=True, help="Show those of Wattline's own canary too.")
@bootstrap_option
def command(follow: bool, form: str, state: str, canary: bool, bootstrap: str) -> None:
    """List alerts, the newest first, one line each; or follow their transitions.

    With --format json the list is one array, and --follow prints one object a line.
    """
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(_follow(bootstrap, form, canary) if follow else _list(bootstrap, form, state, canary))


async def _list(bootstrap: str, form: str, state: str, canary: bool) -> None:
    episodes = fold(_shown(await read_to_end(bootstrap, TOPIC), canary))
    shown = [episode for episode in episodes if state == "all" or episode.is_firing]
    now = datetime.now(UTC)
    if form == "json":
        click.echo(json.dumps([as_json(episode, now) for episode in shown], indent=2))
    elif shown:
        click.echo("\n".join(as_lines(shown, now)))
    else:
        click.echo("no alert is firing" if state == "firing" else "no alerts", err=True)


async def _follow(bootstrap: str, form: str, canary: bool) -> None:
    once = Once()
    async for message in follow_topic(bootstrap, TOPIC):
        for alert in _shown([message], canary):
            if once.is_new(alert):
                click.echo(encode_alert(alert).decode() if form == "json" else told(alert))


def _shown(messages: Iterable[Message], canary: bool) -> Iterator[Alert]:
    for message in messages:
        alert = _readable(message)
        if alert is not None and (canary or not alert.is_canary):
            yield alert


def _readable(message: Message) -> Alert | None:
    try:
        return decode_alert(message)
    except RejectedRecordError as error:
        click.echo(f"wattline: passed over {error}", err=True)
        return None
