"""Options that several verbs share, with their defaults."""

from __future__ import annotations

import os
from pathlib import Path

import click

from broker import background, folders

FALLBACK_BOOTSTRAP = "127.0.0.1:9092"


def default_bootstrap() -> str:
    """Return where Kafka is looked for: `WATTLINE_BOOTSTRAP`, the one of `wattline kafka start`, its usual port."""
    return os.environ.get("WATTLINE_BOOTSTRAP") or background.running_bootstrap() or FALLBACK_BOOTSTRAP


def default_lake() -> Path:
    """Return where the lake lies: `WATTLINE_LAKE`, else a folder of the user's."""
    chosen = os.environ.get("WATTLINE_LAKE")
    return Path(chosen) if chosen else folders.user_folder() / "lake"


bootstrap_option = click.option(
    "--bootstrap", default=default_bootstrap, metavar="HOST:PORT", help="Kafka to speak to (WATTLINE_BOOTSTRAP)."
)

lake_option = click.option(
    "--lake",
    "lake",
    default=default_lake,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the lake (WATTLINE_LAKE).",
)

tokens_option = click.option(
    "--tokens",
    "tokens_path",
    envvar="WATTLINE_TOKENS",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Tokens of who may ask over HTTP (WATTLINE_TOKENS). [default: tokens in the user's folder]",
)
