"""`wattline lake`: look at the lake and take care of it; one verb a file, loaded only when it is used."""

from __future__ import annotations

import click

from wattline.verbs import Verbs

VERBS: dict[str, str] = {
    "status": "Show rows, files, newest times and positions of every table.",
    "compact": "Make few sorted files of the many of each closed hour.",
    "vacuum": "Remove files that no table has had for a day.",
    "scrub": "Hold files against their hashes; set aside and refill what is damaged.",
    "backup": "Add the lake as it is now to the backups in a folder.",
    "restore": "Bring a lake back from a backup.",
    "adopt": "Go on where Kafka no longer has what a table needs next, and say what is lost.",
}


@click.command(cls=Verbs, package="wattline.commands.lake", verbs=VERBS)
def command() -> None:
    """Look at the lake and take care of it."""
