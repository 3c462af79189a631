"""`wattline scrape`: scrape Prometheus text of GPU exporters and send it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import click

from broker import facility as published
from broker.producer import Producer
from sources import targets as targets_file
from sources.publish import Publisher
from sources.scrape import Scraper
from sources.targets import Target
from wattline.options import bootstrap_option


class TargetType(click.ParamType):
    """Read HOST:PORT=NODE_PATH."""

    name = "target"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        """Return the target; fail with what is allowed."""
        try:
            return targets_file.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option("--target", "given", type=TargetType(), multiple=True, metavar="HOST:PORT=NODE", help="One exporter.")
@click.option("--targets", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML with [[targets]].")
@click.option("--every-secs", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Time between two.")
@click.option("--timeout-secs", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Longest answer.")
@bootstrap_option
def command(
    given: tuple[Target, ...], targets: Path | None, every_secs: float, timeout_secs: float, bootstrap: str
) -> None:
    """Scrape GPU exporters over HTTP and send what they answer, until stopped.

    Read are NVIDIA's dcgm-exporter and AMD's device-metrics-exporter. A target that does not answer is
    silent: nothing is sent for it.
    """
    named = [*given, *(targets_file.load(targets) if targets else ())]
    if not named:
        raise click.UsageError("name exporters with --target HOST:PORT=NODE or with --targets FILE")
    asyncio.run(_scrape(named, every_secs, timeout_secs, bootstrap))


async def _scrape(targets: Sequence[Target], every_secs: float, timeout_secs: float, bootstrap: str) -> None:
    registry = await published.read_registry(bootstrap)
    targets_file.check(targets, registry)
    async with Producer(bootstrap, alarm=_say) as producer:
        publisher = Publisher(producer, registry)
        scraper = Scraper(targets, registry, publisher.gpu, every_secs=every_secs, timeout_secs=timeout_secs, say=_say)
        _say(f"{len(targets)} targets every {every_secs:g} s; stop with Ctrl-C")
        await _until_stopped(scraper)
        await publisher.flush()
    rows = sum(publisher.acknowledged.values())
    _say(f"stopped; {rows:,} rows acknowledged")


async def _until_stopped(scraper: Scraper) -> None:
    running = asyncio.ensure_future(scraper.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        return
    except ExceptionGroup as group:
        raise group.exceptions[0] from group


def _say(sentence: str) -> None:
    click.echo(f"scrape: {sentence}", err=True)
