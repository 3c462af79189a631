"""`wattline replay`: send recorded logs through Kafka, with their own time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from broker import facility as published
from broker.producer import Producer
from schemas.errors import ConfigurationError
from schemas.facility import Facility, load
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from sources.publish import Publisher
from sources.recorded import replay, report, runs, site
from wattline.options import bootstrap_option

GROUP = "recorded/replay"
"""The key of all readings: one partition keeps them in the order of their time."""
TAKEN_UP_SECS = 4.0
"""How long streams that run are given to notice a new facility before the first reading."""


class Speed(click.ParamType):
    """Read a number of recorded seconds a second, or `max` as None."""

    name = "speed"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Return the number, None for max."""
        if value is None or value == "max":
            return None
        try:
            speed = float(str(value))
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            self.fail(f"{value!r} is neither a number above 0 nor max", param, ctx)
        return speed


@click.command()
@click.argument("sets", metavar="SET...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "format_name", type=click.Choice(list(runs.FORMATS)), help="Format; without it, by contents.")
@click.option(
    "--facility", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Facility that has the meters."
)
@click.option("--speed", type=Speed(), default="max", metavar="1|N|max", help="Recorded seconds a second.")
@click.option(
    "--clock",
    type=click.Choice(["event"]),
    default="event",
    show_default=True,
    expose_value=False,
    help="Whose time: the readings keep their own.",
)
@bootstrap_option
def command(
    sets: tuple[Path, ...],
    format_name: str | None,
    facility: Path | None,
    speed: float | None,
    bootstrap: str,
) -> None:
    """Send recorded power logs through Kafka, with their own time.

    SET is a folder with one run or many, or one log. Streams and lake must run with --clock event.
    """
    found = runs.find(sets, format_name)
    for sentence in report.complaints(found):
        _say(sentence)
    if not found.runs:
        raise ConfigurationError("replay: none of the logs has a reading, nothing was sent")
    asyncio.run(_replay(found, load(facility) if facility else None, speed, bootstrap))


async def _replay(found: runs.Found, facility: Facility | None, speed: float | None, bootstrap: str) -> None:
    one_site = facility.sites[0].id if facility else None
    placed = [site.place(run, meter, one_site) for run in found.runs for meter in run.meters]
    before = await _in_force(bootstrap)
    if facility is None:
        names = {site.site_of(run): run.name for run in found.runs}
        facility = site.derive([*site.placed_before(before, names), *placed], names)
        _say("each run is a site, each meter stands in a rack of its own: no log says which of them share one")
    if missing := {where.path for where in placed} - assign(facility).ids(SubjectKind.METER).keys():
        raise ConfigurationError(_missing(sorted(missing)))
    registry = await published.publish(bootstrap, facility, _effective_from(found))
    if before is not None and registry.version != before.version:
        # Streams ask for new versions every 3 s; what they read until then they would count by the old one.
        await asyncio.sleep(TAKEN_UP_SECS)
    recording = replay.record(found.runs, registry.ids(SubjectKind.METER), one_site)
    for sentence in report.findings(found, recording):
        click.echo(sentence)
    started = time.monotonic()
    async with Producer(bootstrap, alarm=_say) as producer:
        publisher = Publisher(producer, registry)
        await replay.replay(recording, publisher, GROUP, speed)
    sent = ", ".join(f"{rows:,} rows to {topic}" for topic, rows in publisher.acknowledged.items())
    click.echo(f"acknowledged: {sent}, in {time.monotonic() - started:.1f} s")


async def _in_force(bootstrap: str) -> Registry | None:
    try:
        return await published.read_registry(bootstrap)
    except ConfigurationError:
        return None


def _effective_from(found: runs.Found) -> datetime:
    """Return the whole second of the first reading: the racks stood there when it was recorded."""
    first = min(meter.first for run in found.runs for meter in run.meters)
    return datetime.fromtimestamp(first // 1_000_000, UTC)


def _missing(paths: list[str]) -> str:
    return (
        f"replay: the facility lacks {len(paths)} of the recorded meters, {', '.join(paths[:3])}"
        f"{' …' if len(paths) > 3 else ''}: add them as [[meters]], or leave --facility out to have one derived"
    )


def _say(sentence: str) -> None:
    click.echo(f"replay: {sentence}", err=True)
