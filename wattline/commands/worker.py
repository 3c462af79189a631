"""`wattline worker`: one worker process; the supervisor starts these."""

from __future__ import annotations

from pathlib import Path

import click

from schemas.admission import Clock
from wattline.options import bootstrap_option, lake_option, tokens_option
from wattline.parts import WEB_PORT

slot_option = click.option("--slot", type=click.IntRange(0), default=0, show_default=True, help="Slot of this worker.")
clock_option = click.option("--clock", type=click.Choice(["wall", "event"]), default="wall", help="See replay.")

group_option = click.option(
    "--group", type=click.Choice(["", "b"]), default="", help="b: the second of two groups that do the same."
)


@click.group()
def command() -> None:
    """Run one worker process until it is told to stop."""


@command.command("roll-up")
@slot_option
@bootstrap_option
@clock_option
@group_option
def roll_up(slot: int, bootstrap: str, clock: Clock, group: str) -> None:
    """Make the seconds of racks and meters from their readings."""
    from streams.roll_up_app import run_roll_up

    run_roll_up(bootstrap, slot=slot, clock=clock, group=group)


@command.command()
@slot_option
@bootstrap_option
@clock_option
@click.option("--rules", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Rules instead of ours.")
@group_option
def evaluate(slot: int, bootstrap: str, clock: Clock, rules: Path | None, group: str) -> None:
    """Judge rules on readings and sums, keep the state of alerts, write the windows of sites."""
    from streams.evaluate_app import run_evaluate

    run_evaluate(bootstrap, slot=slot, clock=clock, rules=rules, group=group)


@command.command()
@slot_option
@bootstrap_option
@clock_option
@lake_option
@click.option("--flush-secs", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Between flushes.")
def lake(slot: int, bootstrap: str, clock: Clock, lake: Path, flush_secs: float) -> None:
    """Write every topic into the lake, exactly once."""
    from sinks.lake.process import run
    from sinks.lake.writer import WriterSettings

    run(bootstrap, lake, WriterSettings(slot=slot, clock=clock, flush_secs=flush_secs))


@command.command()
@slot_option
@bootstrap_option
@clock_option
@lake_option
def upkeep(slot: int, bootstrap: str, clock: Clock, lake: Path) -> None:
    """Keep the lake small and sound: a list of duties, one after the other."""
    from sinks.upkeep.duties import duties
    from sinks.upkeep.measure import Measure
    from sinks.upkeep.process import run
    from sinks.upkeep.refill import Kafka

    measure = Measure()
    run(bootstrap, lake, slot, duties(Kafka(bootstrap, clock), measure), measure)


@command.command()
@slot_option
@bootstrap_option
@clock_option
@lake_option
def history(slot: int, bootstrap: str, clock: Clock, lake: Path) -> None:
    """Make windows anew from the lake where readings came too late for the streams."""
    from wattline.recomputing import run

    run(bootstrap, lake, clock, slot)


@command.command()
@slot_option
@bootstrap_option
@clock_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=WEB_PORT, show_default=True, help="Port to listen on.")
@click.option("--canary-secs", type=click.FloatRange(5), default=300.0, show_default=True, help="Between canaries.")
@lake_option
@tokens_option
def web(  # noqa: PLR0917
    slot: int,
    bootstrap: str,
    clock: Clock,
    host: str,
    port: int,
    canary_secs: float,
    lake: Path,
    tokens_path: Path | None,
) -> None:
    """Say on /metrics and /health how the streams do, answer SQL on /api/sql, and send the canary."""
    from web.process import WebSettings, run

    run(bootstrap, WebSettings(slot, host, port, clock, canary_secs, lake, tokens_path))
