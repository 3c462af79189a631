"""The parts that a running Wattline is made of, as worker processes for the supervisor."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from broker import ports
from broker.supervisor import Worker

PARTS: tuple[str, ...] = ("roll-up", "evaluate", "lake", "upkeep", "history", "web")
"""Every part, in the order of the way of the data."""


WEB_PORT = 8420
"""Where the app listens unless another port is named, or this one is taken."""


def free_web_port() -> int:
    """Return the usual port of the app, or a free one where that is taken."""
    return WEB_PORT if ports.is_free(WEB_PORT) else ports.free(1)[0]


@dataclass(frozen=True)
class Settings:
    """Say what all workers of one run share.

    `clock` is `wall` where readings are live and `event` where recorded ones keep their own time.
    `rules` None means the rules that ship with Wattline. `first_slot` is not 0 where roll-up runs in several
    programs, such as containers: a slot is one member of the group. `web_port` is where the app listens. With
    `standby` a second worker of each slot of roll-up and evaluate waits for the first to die. With two `groups`
    both run twice, under two consumer groups. `tokens` is the file of who may ask in SQL, None the usual one.
    """

    bootstrap: str
    lake: Path
    clock: str = "wall"
    rules: Path | None = None
    roll_up_workers: int = 1
    first_slot: int = 0
    web_port: int = WEB_PORT
    standby: bool = False
    groups: int = 1
    tokens: Path | None = None


GROUPS = ("", "b")
"""What a second group is called: roll-up-b, evaluate-b."""
TWICE = ("roll-up", "evaluate")


def workers(parts: tuple[str, ...], settings: Settings) -> list[Worker]:
    """Return one worker a slot: as many of `roll-up` as asked for, one of every other part, and who stands by."""
    return [each for part in parts for each in _of_part(part, settings)]


def _of_part(part: str, settings: Settings) -> list[Worker]:
    groups = GROUPS[: settings.groups] if part in TWICE else GROUPS[:1]
    count = settings.roll_up_workers if part == "roll-up" else 1
    slots = range(settings.first_slot, settings.first_slot + count) if part == "roll-up" else range(1)
    stand_by = ("", "-standby") if part in TWICE and settings.standby else ("",)
    return [worker(part, slot, settings, group, role) for group in groups for slot in slots for role in stand_by]


def worker(part: str, slot: int, settings: Settings, group: str = "", role: str = "") -> Worker:
    """Return the worker of one slot of one part; its options are those that the part knows.

    One that stands by is told the same as the one that it waits for: whichever has the slot runs.
    """
    options = ["--slot", str(slot), "--bootstrap", settings.bootstrap, "--clock", settings.clock]
    if part in ("lake", "upkeep", "history", "web"):
        options += ["--lake", str(settings.lake)]
    if part == "web":
        options += ["--port", str(settings.web_port)]
        options += ["--tokens", str(settings.tokens)] if settings.tokens else []
    if part == "evaluate" and settings.rules is not None:
        options += ["--rules", str(settings.rules)]
    if group:
        options += ["--group", group]
    name = "-".join(word for word in (part, group, str(slot)) if word) + role
    return Worker(name, (sys.executable, "-m", "wattline", "worker", part, *options))
