"""`wattline token`: who may ask over HTTP; a token is shown once and kept as a hash."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wattline.options import tokens_option
from web import tokens


@click.group()
def command() -> None:
    """Say who may ask the lake over HTTP."""


@command.command()
@click.argument("name")
@click.option("--role", type=click.Choice(tokens.ROLES), default="sql", show_default=True, help="What it is for.")
@tokens_option
def add(name: str, role: tokens.Role, tokens_path: Path | None) -> None:
    """Make a token for NAME and print it, this once."""
    path = tokens_path or tokens.token_file()
    click.echo(tokens.add(path, name, role))
    click.echo(f"kept as a hash in {path}; send it as `Authorization: Bearer ...`, never in an address", err=True)


@command.command("list")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@tokens_option
def show(form: str, tokens_path: Path | None) -> None:
    """List whose tokens there are."""
    known = tokens.read(tokens_path or tokens.token_file())
    if form == "json":
        click.echo(json.dumps([{"name": each.name, "role": each.role, "made": each.made} for each in known]))
        return
    for each in known:
        click.echo(f"{each.name:<24} {each.role:<8} {each.made}")
    if not known:
        click.echo("no tokens: make one with `wattline token add NAME --role sql`", err=True)


@command.command()
@click.argument("name")
@tokens_option
def remove(name: str, tokens_path: Path | None) -> None:
    """Take the right of NAME's token away, at once."""
    tokens.remove(tokens_path or tokens.token_file(), name)
