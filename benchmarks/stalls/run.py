"""`make bench-stalls`: how long alerts and windows wait when a worker dies, ends, joins, or all are restarted in turn.

A quarter of the campus of `benchmarks/campus.py` on a real Kafka; two workers of roll up and an evaluator, each with
its standby, under the supervisor of `wattline run`, then two groups. Each figure is the worst delay of what came from
three seconds before the event until three before the next, beside the worst of an undisturbed stretch of the same
run, its `peer`; what was told twice counts when it was told first. `--only` picks `one` or `two` groups.
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
from broker.supervisor import Supervisor, Worker, lock_folder
from schemas.errors import RejectedRecordError
from schemas.facility import load
from schemas.partial import decode_envelope
from wattline.parts import Settings, worker, workers
from wattline.scales import facility_file

PARTS = ("roll-up", "evaluate")
SCALE, ROWS_A_MESSAGE = "35MW", 368
"""A quarter of the campus, a collector before eight racks: what waits is to wait for the event and not for a core."""
WARM_UP_SECS = 25.0
EVENT_SECS = 10.5
IN_TURN_SECS = 4.0
BEFORE_SECS = 3.0
"""More than windows usually take: what an event holds up is not to count for the one before it."""
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

    def signal(self, slot: str, number: signal.Signals) -> None:
        """Send a signal to the worker that runs in a slot: of two the one that holds its lock."""
        os.kill(_holder(lock_folder(self.bootstrap) / f"{slot}.member.lock"), number)

    def kill_both(self, slot: str) -> None:
        """Kill the worker of a slot and the one that stands by for it, who cannot take over then."""
        for supervisor in self.supervisors:
            for each in supervisor.states():
                if each.name.removesuffix("-standby") == slot and each.pid is not None:
                    os.kill(each.pid, signal.SIGKILL)

    def join(self, slot: int) -> None:
        """Start one more worker of roll up."""
        joining = Supervisor([worker("roll-up", slot, self.settings)], self.folder)
        self.supervisors.append(joining)
        joining.start()

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


def _holder(path: Path) -> int:
    """Return the process that holds a lock, as the kernel tells it; those that wait for it are marked "->"."""
    ending = f":{path.stat().st_ino}"
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(ending):
            return int(fields[4])
    raise AssertionError(f"nobody holds {path}")


async def _prepare(bootstrap: str) -> None:
    await create_topics(bootstrap)
    await publish(bootstrap, load(facility_file(SCALE)))


def one_group() -> None:
    """Tell the stalls of one group: two workers of roll up and an evaluator, each with its standby."""
    with crew(roll_up_workers=2, standby=True) as running:
        with running.event("undisturbed"):
            pass
        for what, slot in (("a roll-up worker", "roll-up-1"), ("the evaluator", "evaluate-0")):
            for number in (signal.SIGKILL, signal.SIGTERM):
                with running.event(f"{number.name} of {what}, standby ready"):
                    running.signal(slot, number)
            with running.event(f"SIGKILL of {what}, no standby"):
                running.kill_both(slot)
        with running.event("a roll-up worker joins"):
            running.join(2)
        with running.event("rolling restart of all"):
            for slot in ("roll-up-0", "roll-up-1", "roll-up-2", "evaluate-0"):
                running.signal(slot, signal.SIGTERM)
                time.sleep(IN_TURN_SECS)
        tell_stalls(running, "one group")


def two_groups() -> None:
    """Tell what a kill in the first of two groups costs, with what either group told first."""
    with crew(groups=2) as running:
        with running.event("undisturbed"):
            pass
        for slots in (("evaluate-0",), ("roll-up-0",), ("evaluate-0", "roll-up-0")):
            with running.event(f"SIGKILL of {' and '.join(slots)}"):
                for slot in slots:
                    running.signal(slot, signal.SIGKILL)
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
