"""`wattline facility`: publish a facility, or show the one in force."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec
import polars as pl

from broker import facility as published
from schemas.errors import ConfigurationError
from schemas.facility import load
from schemas.registry import Registry
from schemas.time import moment
from schemas.timeline import EVER, Version
from wattline.options import bootstrap_option

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
    click.echo(_shown(asyncio.run(published.publish(bootstrap, facility, asked)), form))
    timeline = asyncio.run(published.read_timeline(bootstrap, "wall"))
    for site in facility.sites:
        if sentence := counting(timeline.newest_version(site.id)):
            click.echo(sentence, err=True)


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
    if moment(version.start).replace(tzinfo=None) <= version.part.effective_from:
        return f"{said}; no worker starts again"
    return (
        f"{said}, not from {_utc(version.part.effective_from)}: that was over, or too near for all to hear; "
        "windows before it stay those of the version before until they are recomputed from the lake"
    )


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
