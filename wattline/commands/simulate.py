"""`wattline simulate`: send the telemetry of a simulated campus."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from broker import facility as published
from broker.producer import Producer
from schemas.facility import load
from schemas.registry import Registry
from sources.publish import Publisher
from sources.simulated import incidents
from sources.simulated.campus import Campus
from sources.simulated.pace import Pace, first_second, send_all
from sources.simulated.truth import write_truth
from wattline.options import bootstrap_option


@click.command()
@click.argument("facility", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--seed", default=1, show_default=True, help="Same seed, same campus.")
@click.option("--speed", default=1.0, show_default=True, help="Seconds of the campus a second, until it has caught up.")
@click.option("--duration-secs", type=click.IntRange(min=1), help="Seconds to send; without it, until stopped.")
@click.option("--truth", type=click.Path(dir_okay=False, path_type=Path), help="File for what goes wrong, and why.")
@click.option(
    "--incident", "kinds", multiple=True, type=click.Choice(incidents.KINDS), help="What goes wrong (again for more)."
)
@click.option("--jitter/--no-jitter", default=True, show_default=True, help="Stamp readings as collectors come round.")
@bootstrap_option
def command(  # noqa: PLR0917
    facility: Path | None,
    seed: int,
    speed: float,
    duration_secs: int | None,
    truth: Path | None,
    kinds: tuple[str, ...],
    jitter: bool,
    bootstrap: str,
) -> None:
    """Send the telemetry of a simulated campus.

    FACILITY is published first; without it the campus is the one in force.
    """
    registry = asyncio.run(_registry(bootstrap, facility))
    start = first_second(time.time(), speed, duration_secs)
    campus = Campus(registry, seed=seed, start=start, incidents=kinds, jitter=jitter)
    if truth:
        write_truth(truth, campus.truths)
    for each in campus.truths:
        click.echo(f"planned: {each['kind']} at {each['subject']}, {each['starts']} to {each['ends']}", err=True)
    try:
        asyncio.run(_send(bootstrap, registry, campus, Pace(start, time.time(), speed), duration_secs))
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


async def _registry(bootstrap: str, facility: Path | None) -> Registry:
    if facility is None:
        return await published.read_registry(bootstrap)
    return await published.publish(bootstrap, load(facility))


async def _send(bootstrap: str, registry: Registry, campus: Campus, pace: Pace, duration_secs: int | None) -> None:
    async with Producer(bootstrap) as producer:
        publisher = Publisher(producer, registry)
        sent = await send_all(campus, publisher, pace, duration_secs=duration_secs, say=_say)
    click.echo(f"sent {sent} seconds of {len(campus.layout.slots):,} GPUs", err=True)


def _say(sentence: str) -> None:
    click.echo(f"simulate: {sentence}", err=True)
