"""`wattline check`: check a facility and its rules, offline and completely."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from schemas.check import Checked, check
from schemas.errors import ConfigurationError

FOUND_WANTING = 1


@click.command()
@click.argument("facility", type=click.Path(path_type=Path))
@click.option("--rules", type=click.Path(path_type=Path), metavar="FILE", help="Rules to check instead of its own.")
@click.option("--strict", is_flag=True, help="Exit 1 where there are warnings.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(facility: Path, rules: Path | None, strict: bool, form: str) -> None:
    """Check a facility and its rules, offline and completely.

    Exits 0 where all is well or there are warnings only, 1 with --strict where there are warnings,
    78 where the facility cannot be used.
    """
    checked = check(facility, rules)
    click.echo(as_json(checked) if form == "json" else as_text(checked, str(facility)))
    if checked.errors:
        sys.exit(ConfigurationError.exit_code)
    if strict and checked.warnings:
        sys.exit(FOUND_WANTING)


def as_text(checked: Checked, name: str) -> str:
    """Return every finding on a line of its own, then one line that sums up."""
    counted = f"{_count(len(checked.errors), 'error')}, {_count(len(checked.warnings), 'warning')}"
    held = ""
    if checked.registry is not None:
        registry = checked.registry
        held = (
            f"{_count(len(registry.sites), 'site')}, {_count(len(registry.racks), 'rack')}, "
            f"{_count(len(registry.nodes), 'node')}, {_count(len(registry.slots), 'GPU')}, "
            f"{_count(len(registry.feeds), 'feed')}, {_count(len(registry.meters), 'meter')}; "
        )
    left = "" if checked.is_whole else "; what refers to what is judged once these are mended"
    return "\n".join([*map(str, checked.findings), f"{name}: {held}{counted}{left}"])


def as_json(checked: Checked) -> str:
    """Return the findings as a JSON list of objects."""
    return msgspec.json.format(msgspec.json.encode(checked.findings), indent=2).decode()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
