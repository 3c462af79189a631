"""`wattline tap`: what flows through a topic, decoded."""

from __future__ import annotations

import asyncio
import contextlib

import click

from broker.consumer import follow
from broker.facility import read_registry
from schemas.errors import ConfigurationError, UnavailableError
from schemas.registry import Registry
from wattline.options import bootstrap_option
from wattline.tap_lines import as_json, as_text


@click.command()
@click.argument("topic")
@click.option("--from", "from_", type=click.Choice(["earliest", "latest"]), default="latest", show_default=True)
@click.option("--limit", type=click.IntRange(1), help="End after so many messages; without it, on Ctrl-C.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@bootstrap_option
def command(topic: str, from_: str, limit: int | None, form: str, bootstrap: str) -> None:
    """Print what flows through TOPIC, decoded; a bad message is shown as what it is.

    Text shows the first rows of a message, JSON one object for each row. Ids become paths where a facility
    is published.
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_tap(topic, from_, limit, form, bootstrap))


async def _tap(topic: str, from_: str, limit: int | None, form: str, bootstrap: str) -> None:
    registry = await _registry(bootstrap)
    lines = as_json if form == "json" else as_text
    seen = 0
    async with contextlib.aclosing(follow(bootstrap, topic, from_)) as messages:
        async for message in messages:
            for line in lines(message, registry):
                click.echo(line)
            seen += 1
            if seen == limit:
                return


async def _registry(bootstrap: str) -> Registry | None:
    """Return the registry, None before any facility is published: a tap works on any Kafka."""
    try:
        return await read_registry(bootstrap)
    except (ConfigurationError, UnavailableError):
        return None
