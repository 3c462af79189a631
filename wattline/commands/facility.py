"""`wattline facility`: publish a facility, or show the one in force."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
import polars as pl

from broker import facility as published
from broker.consumer import read_to_end
from broker.producer import Producer
from schemas import recomputation
from schemas.errors import ConfigurationError
from schemas.facility import Facility, load
from schemas.recomputation import Asked
from schemas.registry import Registry
from schemas.time import moment
from schemas.timeline import EVER, SECOND, Timeline, Version
from wattline.options import bootstrap_option

MOST_ASKED_DAYS = 7
"""So much is asked to be recomputed without a word of the person who publishes."""

format_option = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.group()
def command() -> None:
    """Publish a facility, or show the one in force."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--effective-from", metavar="TIME", help="ISO 8601 with zone; as soon as all have heard, if not given.")
@format_option
@bootstrap_option
def publish(file: Path, effective_from: str | None, form: str, bootstrap: str) -> None:
    """Check FILE and put it in force without restarting anything; every place keeps the id it has.

    A later version counts from a second that lies ahead, so that every worker hears of it in time, and says so.
    """
    asked = _moment(effective_from) if effective_from else None
    facility = load(file)
    before, registry, timeline = asyncio.run(_publish(bootstrap, facility, asked))
    click.echo(_shown(registry, form))
    for site in facility.sites:
        version = timeline.newest_version(site.id)
        if sentence := counting(version):
            click.echo(sentence, err=True)
        if before.get(site.id) != version.part.version and (late := lateness(version)):
            click.echo(asyncio.run(_ask(bootstrap, late)), err=True)


async def _publish(
    bootstrap: str, facility: Facility, asked: datetime | None
) -> tuple[dict[str, int], Registry, Timeline]:
    """Publish; return the versions before by site, the sites in force, and from when each version counts."""
    try:
        before = {part.site: part.version for part in (await published.read_registry(bootstrap)).parts}
    except ConfigurationError:
        before = {}
    registry = await published.publish(bootstrap, facility, asked)
    return before, registry, await published.read_timeline(bootstrap, "wall")


@command.command()
@format_option
@bootstrap_option
def show(form: str, bootstrap: str) -> None:
    """Show the sites in force with their versions."""
    click.echo(_shown(asyncio.run(published.read_registry(bootstrap)), form))


def counting(version: Version) -> str | None:
    """Say from when a version counts; None where it counts from ever."""
    if version.start == EVER:
        return None
    said = f"{version.part.site}: version {version.part.version} counts from {_utc(moment(version.start))} on"
    if lateness(version) is None:
        return f"{said}; no worker starts again"
    return f"{said}, not from {_utc(version.part.effective_from)}: that was over, or too near for every worker to hear"


def lateness(version: Version) -> Asked | None:
    """Return what is to be recomputed where a version counts later than it says, else None."""
    since = int(version.part.effective_from.replace(tzinfo=UTC).timestamp()) * SECOND
    if version.start <= since:
        return None
    return Asked(version.part.site, since, version.start, "facility", published.TOPIC, 0, 0)


async def _ask(bootstrap: str, late: Asked) -> str:
    """Ask for the windows told by the version before; return what came of it."""
    stretch = f"{moment(late.first_second).isoformat()} to {moment(late.end_second).isoformat()}"
    if late.end_second - late.first_second > MOST_ASKED_DAYS * 86_400 * SECOND:
        return f"{late.site}: {stretch} is long; `wattline recompute` makes its windows anew where you want them"
    offset = max(message.offset for message in await read_to_end(bootstrap, published.TOPIC)) + 1
    async with Producer(bootstrap) as producer:
        value = recomputation.encode(msgspec.structs.replace(late, offset=offset))
        await producer.send(recomputation.TOPIC, value, (late.site or "").encode(), recomputation.HEADERS)
        await producer.flush()
    return f"{late.site}: the windows of {stretch} are asked to be recomputed from the lake"


def _utc(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _moment(text: str) -> datetime:
    try:
        asked = datetime.fromisoformat(text)
    except ValueError:
        asked = datetime.min
    if asked.tzinfo is None:
        raise ConfigurationError(
            f"--effective-from {text!r} is not a time with a zone; allowed: such as 2026-01-31T08:00:00+03:00"
        )
    return asked


def sites(registry: Registry) -> list[dict[str, Any]]:
    """Return one object a site: name, version, since when, how much it holds, its contract."""
    held = registry.racks.group_by("site").agg(racks=pl.len(), nodes=pl.col("nodes").sum(), gpus=pl.col("gpus").sum())
    names = registry.structure.select("path", "name_en", "name_ar")
    shown = registry.sites.join(names, on="path").join(held, on="site", how="left").sort("path")
    columns = ("path", "name_en", "name_ar", "version", "effective_from", "racks", "nodes", "gpus", "contract_watts")
    return shown.with_columns(pl.col("racks", "nodes", "gpus").fill_null(0)).select(columns).to_dicts()


def _shown(registry: Registry, form: str) -> str:
    if form == "json":
        objects = [site | {"effective_from": f"{site['effective_from'].isoformat()}Z"} for site in sites(registry)]
        return msgspec.json.format(msgspec.json.encode(objects), indent=2).decode()
    return "\n".join(map(_line, sites(registry)))


def _line(site: dict[str, Any]) -> str:
    since = _utc(site["effective_from"])
    held = f"{site['racks']:,} racks, {site['nodes']:,} nodes, {site['gpus']:,} GPUs"
    return f"{site['path']}  {site['name_en']}: version {site['version']} since {since}, {held}"
