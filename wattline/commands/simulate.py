"""`wattline simulate`: send the telemetry of a simulated campus."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from datetime import UTC, datetime
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
    start = first_second(time.time(), speed, duration_secs)
    registry = asyncio.run(_registry(bootstrap, facility, start))
    if speed == 1:  # making ready took a while, and a live second is not sent late
        start = first_second(time.time(), speed, duration_secs)
    campus = Campus(registry, seed=seed, start=start, incidents=kinds, jitter=jitter)
    if truth:
        write_truth(truth, campus.truths)
    for each in campus.truths:
        click.echo(f"planned: {each['kind']} at {each['subject']}, {each['starts']} to {each['ends']}", err=True)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_send(bootstrap, registry, campus, Pace(start, time.time(), speed), duration_secs))


async def _registry(bootstrap: str, facility: Path | None, start: int) -> Registry:
    if facility is None:
        return await published.read_registry(bootstrap)
    return await published.publish(bootstrap, load(facility), datetime.fromtimestamp(start, UTC))


async def _send(bootstrap: str, registry: Registry, campus: Campus, pace: Pace, duration_secs: int | None) -> None:
    """Send until done or told to stop; leaving the block waits for what is on its way."""
    sending = asyncio.current_task()
    assert sending is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sending.cancel)
    async with Producer(bootstrap) as producer:
        publisher = Publisher(producer, registry)
        try:
            await send_all(campus, publisher, pace, duration_secs=duration_secs, say=_say)
        finally:
            rows = ", ".join(f"{count:,} rows to {topic}" for topic, count in publisher.acknowledged.items())
            _say(f"acknowledged: {rows or 'nothing'}")


def _say(sentence: str) -> None:
    click.echo(f"simulate: {sentence}", err=True)
