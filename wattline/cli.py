"""The command line: one verb a file in wattline/commands, loaded only when it is used."""

from __future__ import annotations

import sys

import click

from schemas.errors import WattlineError
from wattline.verbs import Verbs

VERBS: dict[str, str] = {
    "demo": "Run everything on this machine with a simulated campus.",
    "run": "Run the streams, the lake writer and the rest against a Kafka.",
    "kafka": "Start, stop or look at the embedded Kafka.",
    "simulate": "Send the telemetry of a simulated campus.",
    "replay": "Send recorded logs through Kafka, with their own time.",
    "scrape": "Scrape Prometheus text of GPU exporters and send it.",
    "init": "Write a first facility file.",
    "check": "Check a facility and its rules, offline and completely.",
    "facility": "Publish a facility, or show the one in force.",
    "alerts": "List alerts, or follow them.",
    "sql": "Ask the lake.",
    "token": "Say who may ask the lake over HTTP.",
    "lake": "Look at the lake and take care of it.",
    "recompute": "Make windows anew from the lake's readings.",
    "top": "Watch racks, feeds, halls and sites against their limits.",
    "tap": "Print what flows through a topic.",
    "worker": "Run one worker process (the supervisor does this).",
}


@click.command(cls=Verbs, package="wattline.commands", verbs=VERBS, hidden=frozenset({"worker"}))
@click.version_option(package_name="wattline")
def command() -> None:
    """Live power, GPU and job telemetry for AI campuses."""


def main() -> None:
    """Run one verb; an error of ours becomes one line on stderr and its exit code."""
    try:
        command(prog_name="wattline")
    except WattlineError as error:
        click.echo(f"wattline: {error}", err=True)
        sys.exit(error.exit_code)
