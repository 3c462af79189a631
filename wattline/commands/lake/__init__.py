"""`wattline lake`: look at the lake and take care of it; one verb a file, loaded only when it is used."""

from __future__ import annotations

import importlib

import click

VERBS: dict[str, str] = {
    "status": "Show rows, files, newest times and positions of every table.",
    "compact": "Make few sorted files of the many of each closed hour.",
    "vacuum": "Remove files that no table has had for a day.",
    "scrub": "Hold files against their hashes; set aside and refill what is damaged.",
    "backup": "Add the lake as it is now to the backups in a folder.",
    "restore": "Bring a lake back from a backup.",
    "adopt": "Go on where Kafka no longer has what a table needs next, and say what is lost.",
}


class Verbs(click.Group):
    """Load the module of a verb when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, looking before changing."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `wattline.commands.lake.<verb>` and return its `command`."""
        if cmd_name not in VERBS:
            return None
        return importlib.import_module(f"wattline.commands.lake.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing any of them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs)
def command() -> None:
    """Look at the lake and take care of it."""
