"""`wattline demo`: everything on this machine with a simulated campus."""

from __future__ import annotations

import click

from sources.simulated import incidents
from wattline.demo import Options, run
from wattline.scales import SCALES


@click.command()
@click.option("--scale", type=click.Choice(list(SCALES)), default="35MW", show_default=True, help="Size of the campus.")
@click.option("--seed", default=1, show_default=True, help="Same seed, same campus.")
@click.option(
    "--incident",
    "kinds",
    multiple=True,
    type=click.Choice(incidents.KINDS),
    default=(incidents.RACK_OVER_LIMIT,),
    show_default=True,
    help="What goes wrong (again for more).",
)
@click.option("--keep", is_flag=True, help="Keep data and logs at the end.")
@click.option("--duration-secs", type=click.FloatRange(min=1), help="End by itself after so long.")
def command(scale: str, seed: int, kinds: tuple[str, ...], keep: bool, duration_secs: float | None) -> None:
    """Run everything on this machine with a simulated campus, until Ctrl-C.

    Kafka, streams, lake and simulation start and end together; a second demo gets ports and a folder of its own.
    """
    run(Options(scale, seed, kinds, keep, duration_secs))
