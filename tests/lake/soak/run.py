"""`make soak-lake`: lakes whose writers, broker and disk fail again and again; no row may be lost or doubled.

Several lakes, each with a group of its own, read one Kafka. Everything is in the folder of --state, from which
the next run goes on: with the same seed until all wanted faults are counted.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

import click

from broker.admin import create_topics
from broker.embedded import EmbeddedKafka
from tests.lake.soak.arena import Arena
from tests.lake.soak.compare import Found, compare, read_note
from tests.lake.soak.faults import FAULTS
from tests.lake.soak.feed import NotingFeeder
from tests.lake.soak.finish import finish
from tests.lake.soak.forked import LateError, Zygote
from tests.lake.soak.tally import HELD, WANTED, Tally

BROKER_KILL_EVERY_SECS = 30.0
SMALL_DISK_MEGABYTES = 192


class Soak:
    """Run one stretch of a soak in its folder."""

    def __init__(self, state: Path, seed: int, lakes: int, *, is_fenced: bool = True) -> None:
        self.state, self.tally = state, Tally(state / "tally.json")
        self.name = f"{seed}-{self.tally.runs}"
        self._chance = Random(self.name)
        self._lakes, self._is_fenced = lakes, is_fenced
        self._over = threading.Event()
        self.broken: list[str] = []

    def run(self, seconds: float) -> list[Found]:
        """Make faults for so long, let every lake come to the end of the log, and compare."""
        with ExitStack() as stack:
            disk = stack.enter_context(small_disk())
            kafka = stack.enter_context(EmbeddedKafka(self.state / "kafka", quick_start=True))
            asyncio.run(create_topics(kafka.bootstrap))
            zygote = Zygote()
            stack.callback(zygote.close)
            arenas = [self._arena(kafka, zygote, number, None) for number in range(self._lakes)]
            if disk is not None:
                arenas.append(self._arena(kafka, zygote, self._lakes, disk))
            with NotingFeeder(kafka.bootstrap, self.state / f"acknowledged-{self.name}.parquet", self.name):
                self._make_faults(kafka, arenas, seconds)
            for arena in arenas:
                finish(kafka.bootstrap, arena)
            found = [each for arena in arenas for each in compare(arena.lake, read_note(self.state))]
        self.tally.runs += 1
        self.tally.save()
        return found

    def _arena(self, kafka: EmbeddedKafka, zygote: Zygote, number: int, disk: Path | None) -> Arena:
        lake = (disk or self.state) / f"lake-{number}"
        chance = Random(f"{self.name}-{number}")
        is_fenced = self._is_fenced
        return Arena(lake, lambda: kafka.bootstrap, zygote, self.tally, chance, is_fenced=is_fenced, small_disk=disk)

    def _make_faults(self, kafka: EmbeddedKafka, arenas: list[Arena], seconds: float) -> None:
        threads = [threading.Thread(target=self._fight, args=(arena,)) for arena in arenas]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.broken:
            pause = min(BROKER_KILL_EVERY_SECS, max(0.0, deadline - time.monotonic()))
            if not self._over.wait(pause) and deadline - time.monotonic() > BROKER_KILL_EVERY_SECS / 2:
                self._kill_broker(kafka, arenas)
        self._over.set()
        for thread in threads:
            thread.join()

    def _fight(self, arena: Arena) -> None:
        """Make one fault after the other; a writer that could not start while the broker was away is no fault."""
        faults, shares = list(FAULTS), list(FAULTS.values())
        while not self._over.is_set():
            (fault,) = arena.chance.choices(faults, shares)
            try:
                fault(arena)
            except LateError as error:
                print(f"  {arena.lake.name}: {fault.__name__} did not come about: {error}", flush=True)
                arena.end_all()
            except Exception:
                self.broken.append(f"{arena.lake.name}: {fault.__name__}: {traceback.format_exc()}")
                self._over.set()

    def _kill_broker(self, kafka: EmbeddedKafka, arenas: list[Arena]) -> None:
        writers = [writer for arena in arenas for writer in list(arena.writers.values())]
        for arena in arenas:
            arena.is_broker_up.clear()
        (node,) = kafka.nodes
        node.kill()
        holding = max(
            (writer.held for writer in writers), key=lambda each: HELD.index(each) if each else -1, default=""
        )
        time.sleep(self._chance.uniform(0, 2))
        node.start()
        for arena in arenas:
            arena.is_broker_up.set()
        self.tally.add("broker kill", holding)
        print(f"  {self.tally.total} faults counted", flush=True)


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """Mount a disk that a lake can fill; None where only root may, and then no disk is really full."""
    folder = Path(tempfile.mkdtemp(prefix="soak-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MEGABYTES}m", "none", os.fspath(folder)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
    finally:
        with suppress(OSError):
            folder.rmdir()


def report(soak: Soak, found: list[Found], took_secs: float) -> bool:
    """Print what was made and found; tell whether all rows are there once."""
    tally = soak.tally
    for kind, wanted in WANTED.items():
        print(f"{kind:>32}: {tally.counted[kind]:5d} counted of {tally.made[kind]:5d} made, {wanted} wanted")
    print(f"victims held: {', '.join(f'{tally.held[each]} a {each}' for each in HELD)}")
    lost, doubled, other = (sum(getattr(each, name) for each in found) for name in ("lost", "doubled", "other"))
    for each in found:
        if each.lost or each.doubled or each.other:
            print(f"WRONG: {each}")
    for each in soak.broken:
        print(f"BROKEN: {each}")
    rows, messages = sum(each.rows for each in found), sum(each.messages for each in found)
    print(
        f"soak-lake: run {soak.name}, {took_secs:.0f} s, {tally.total} faults counted in {tally.runs} runs; "
        f"{rows:,} rows of {messages:,} messages compared: {lost} lost, {doubled} doubled, {other} other than sent"
    )
    return not (lost or doubled or other or soak.broken)


@click.command()
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--minutes", type=float, default=20.0, show_default=True, help="Of faults; the comparison comes on top.")
@click.option("--state", type=click.Path(path_type=Path), default=Path("soak-lake"), show_default=True)
@click.option("--lakes", type=int, default=3, show_default=True, help="And one more on a disk of its own, as root.")
@click.option("--fence", type=click.Choice(["on", "off"]), default="on", show_default=True, help="off: must double.")
@click.option("--anew", is_flag=True, help="Forget what earlier runs left in the folder.")
def main(seed: int, minutes: float, state: Path, lakes: int, fence: str, anew: bool) -> None:  # noqa: PLR0917
    """Run one stretch of the soak; exit code 1 where a row is lost or doubled."""
    if anew and (state / "tally.json").exists():
        shutil.rmtree(state)
    state.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    soak = Soak(state.resolve(), seed, lakes, is_fenced=fence == "on")
    print(f"soak-lake: seed {seed}, run {soak.name}, {lakes} lakes, fence {fence}, in {state}", flush=True)
    found = soak.run(minutes * 60)
    is_right = report(soak, found, time.monotonic() - began)
    missing = soak.tally.missing()
    print("all wanted faults are made" if not missing else f"still wanted, run it again: {missing}")
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
