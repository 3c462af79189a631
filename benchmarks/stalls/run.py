"""`make bench-stalls`: how long alerts and windows wait when a worker dies, ends, joins, or all are restarted in turn.

A quarter of the campus of `benchmarks/campus.py` on a real Kafka; two workers of roll up, an evaluator and its standby
under the supervisor of `wattline run`, then two groups. Each figure is the worst delay of what came from a second
before the event until the next one, beside the worst of an undisturbed stretch of the same run, its `peer`; what was
told twice counts when it was told first. `--only` picks `one` or `two` groups.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from benchmarks.campus import GPU_TOPIC, POWER_TOPIC, SECOND, campus_registry
from benchmarks.figures import tell
from benchmarks.streams.live import alert_delays, rules_file, window_delays
from broker.admin import create_topics
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.facility import publish
from broker.supervisor import Supervisor, Worker
from schemas.errors import RejectedRecordError
from schemas.facility import load
from schemas.partial import decode_envelope
from wattline.parts import Settings, worker, workers
from wattline.scales import facility_file

PARTS = ("roll-up", "evaluate")
SCALE, ROWS_A_MESSAGE = "35MW", 368
"""A quarter of the campus, a collector before eight racks: what waits is to wait for the event and not for a core."""
WARM_UP_SECS = 25.0
EVENT_SECS = 12.0
IN_TURN_SECS = 5.0
BEFORE_SECS = 1.0
TWO_GROUPS_BAR_SECS = 0.3


class Event(NamedTuple):
    """Say what happened in `[since, until)`, UTC µs."""

    name: str
    since: int
    until: int


@dataclass
class Crew:
    """The running workers by name, and what was made to happen to them."""

    bootstrap: str
    settings: Settings
    folder: Path
    supervisors: list[Supervisor]
    events: list[Event] = field(default_factory=list)
    holder: str = "evaluate-0"
    """Which of the two evaluators has the slot; the other stands by."""

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one worker."""
        (pid,) = [each.pid for supervisor in self.supervisors for each in supervisor.states() if each.name == name]
        assert pid is not None, f"{name} does not run"
        os.kill(pid, number)

    def evaluator(self, number: signal.Signals) -> None:
        """Send a signal to the evaluator that runs; its standby is the one that runs from now on."""
        self.signal(self.holder, number)
        self.holder = ({"evaluate-0", "evaluate-0-standby"} - {self.holder}).pop()

    @contextmanager
    def event(self, name: str) -> Iterator[None]:
        """Note what happens in the block, and wait until it is over."""
        began = time.time()
        yield
        time.sleep(EVENT_SECS)
        self.events.append(Event(name, int((began - BEFORE_SECS) * SECOND), int((time.time() - BEFORE_SECS) * SECOND)))


@contextmanager
def crew(**settings: object) -> Iterator[Crew]:
    """Run broker, load and workers; yield once all is warm, and end what joined meanwhile too."""
    with tempfile.TemporaryDirectory() as name, EmbeddedKafka(Path(name) / "kafka") as kafka:
        asyncio.run(_prepare(kafka.bootstrap))
        made = replace(Settings(kafka.bootstrap, Path(name) / "lake", rules=rules_file(Path(name))), **settings)
        load_argv = ("--live", "--scale", SCALE, "--rows", str(ROWS_A_MESSAGE), "--breaching", "200")
        beside = Worker("load", (sys.executable, "-m", "benchmarks.load", kafka.bootstrap, *load_argv))
        with Supervisor([*workers(PARTS, made), beside], Path(name) / "logs") as supervisor, ExitStack() as joined:
            time.sleep(WARM_UP_SECS)
            running = Crew(kafka.bootstrap, made, Path(name) / "logs", [supervisor])
            yield running
            for each in running.supervisors[1:]:
                joined.callback(each.stop)


async def _prepare(bootstrap: str) -> None:
    await create_topics(bootstrap)
    await publish(bootstrap, load(facility_file(SCALE)))


def one_group() -> None:
    """Tell the stalls of one group: two workers of roll up, an evaluator and its standby."""
    with crew(roll_up_workers=2, standby=True) as running:
        with running.event("undisturbed"):
            pass
        for number in (signal.SIGKILL, signal.SIGTERM):
            with running.event(f"{number.name} of a roll-up worker"):
                running.signal("roll-up-1", number)
            with running.event(f"{number.name} of the evaluator, standby ready"):
                running.evaluator(number)
        with running.event("a roll-up worker joins"):
            joining = worker("roll-up", 2, running.settings)
            running.supervisors.append(Supervisor([joining], running.folder))
            running.supervisors[-1].start()
        with running.event("rolling restart of all"):
            for name in ("roll-up-0", "roll-up-1", "roll-up-2"):
                running.signal(name, signal.SIGTERM)
                time.sleep(IN_TURN_SECS)
            running.evaluator(signal.SIGTERM)
        tell_stalls(running, "one group")


def two_groups() -> None:
    """Tell what a kill in the first of two groups costs, with what either group told first."""
    with crew(groups=2) as running:
        with running.event("undisturbed"):
            pass
        for name in ("evaluate-0", "roll-up-0"):
            with running.event(f"SIGKILL of {name}"):
                running.signal(name, signal.SIGKILL)
        with running.event("SIGKILL of all of one group"):
            for name in ("evaluate-0", "roll-up-0"):
                running.signal(name, signal.SIGKILL)
        tell_stalls(running, "two groups", TWO_GROUPS_BAR_SECS)


def tell_stalls(running: Crew, groups: str, most: float | None = None) -> None:
    """Print the worst delays of each event; `most` is the bar of those of alerts."""
    since, registry = running.events[0].since, campus_registry(scale=SCALE)
    kinds: dict[str, pl.DataFrame] = {
        "alert on one rack or feed, append to append": alert_delays(running.bootstrap, since, registry),
        "second rolled up, end to append": closing_delays(running.bootstrap, since),
        "windows, end of second to append": window_delays(running.bootstrap, since),
    }
    for kind, delays in kinds.items():
        usual, *others = [_worst(delays, event) for event in running.events]
        for event, (worst, count) in zip(running.events[1:], others, strict=True):
            bar = most if kind.startswith("alert") else None
            tell(f"stalls, {groups}: {event.name}: {kind}", worst, "s", most=bar, peer=usual[0], measured=count)


def _worst(delays: pl.DataFrame, event: Event) -> tuple[float, int]:
    """Return the worst delay of what came in an event, in seconds, and how many came."""
    came = delays.filter(pl.col("came").is_between(event.since, event.until, closed="left"))
    return float((came["told"] - came["came"]).max() or 0) / SECOND, len(came)


def closing_delays(bootstrap: str, since: int) -> pl.DataFrame:
    """Return frame (came, told): the end of each second of each partition, and when that was first told; UTC µs."""
    found = []
    for message in asyncio.run(read_to_end(bootstrap, "windows.rack.v1", since)):
        try:
            envelope = decode_envelope(message)
        except RejectedRecordError:
            continue
        if envelope.kind == "closing" and envelope.topic in (GPU_TOPIC, POWER_TOPIC):
            for second in range(envelope.first_second, envelope.end_second, SECOND):
                found.append((envelope.topic, envelope.partition, second + SECOND, message.appended))
    frame = pl.DataFrame(found, schema=["topic", "partition", "came", "told"], orient="row")
    return frame.group_by("topic", "partition", "came").agg(pl.col("told").min()).select("came", "told")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts: dict[str, Callable[[], None]] = {"one": one_group, "two": two_groups}
    parser.add_argument("--only", choices=parts)
    chosen = parser.parse_args().only
    for name, measure in parts.items():
        if chosen in (None, name):
            measure()


if __name__ == "__main__":
    main()
