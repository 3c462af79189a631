"""A group of verbs, one a file, each loaded only when it is used, so that `--help` is quick."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class Verbs(click.Group):
    """Find the verb V in the module `<package>.V` as its `command`; `hidden` ones work and are not listed."""

    def __init__(
        self, *args: Any, package: str, verbs: Mapping[str, str], hidden: frozenset[str] = frozenset(), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._package, self._verbs, self._hidden = package, verbs, hidden

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they were told."""
        return [verb for verb in self._verbs if verb not in self._hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a verb and return its `command`."""
        if cmd_name not in self._verbs:
            return None
        command: click.Command = importlib.import_module(f"{self._package}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing any of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, self._verbs[verb]) for verb in self.list_commands(ctx)])
