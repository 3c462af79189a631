"""`wattline worker`: one worker process; the supervisor starts these."""

from __future__ import annotations

import click

from schemas.admission import Clock
from wattline.options import bootstrap_option

slot_option = click.option("--slot", type=click.IntRange(0), default=0, show_default=True, help="Slot of this worker.")
clock_option = click.option("--clock", type=click.Choice(["wall", "event"]), default="wall", help="See replay.")


@click.group()
def command() -> None:
    """Run one worker process until it is told to stop."""


@command.command("roll-up")
@slot_option
@bootstrap_option
@clock_option
def roll_up(slot: int, bootstrap: str, clock: Clock) -> None:
    """Make the seconds of racks and meters from their readings."""
    from streams.roll_up_app import run_roll_up

    run_roll_up(bootstrap, slot=slot, clock=clock)
