"""What the compaction of a campus hour costs: CPU, memory, bytes; `--flushes 36` is a tenth of the hour.

The flushes are made first, by the lake writer's own code from messages of 2,000 rows; that takes longer than what is
measured. The compaction runs in a process of its own, so that its peak of memory is that of nothing else.
Prints one JSON line a figure.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import numpy as np

from benchmarks.figures import tell
from benchmarks.lake.run import VALUES, Load, cpu_seconds
from sinks.lake.flush import Tables
from sinks.lake.ledger import Ledger
from sinks.lake.tables import BY_NAME
from sinks.upkeep.compaction import Compacted, compact_hour

ROWS_A_MESSAGE = 2_000
FLUSHES = 360
TABLE = BY_NAME["gpu"]
HOUR = "2026-03-01T12"
MOST_CPU_SECS = 180.0
MOST_BYTES = 1_000_000_000


class Cost(NamedTuple):
    """Hold what one compaction took: CPU seconds of all threads, the peak of memory, and a sort beside it."""

    compacted: Compacted
    cpu_secs: float
    peak_bytes: int
    sort_secs: tuple[float, float]


def write_hour(lake: Path, flushes: int) -> None:
    """Write so many flushes of ten seconds each into a new lake."""
    load, tables = Load(ROWS_A_MESSAGE), Tables(lake, "event")
    for _ in range(flushes):
        tables.flush(load.flush_worth(), None)


@contextmanager
def copied(lake: Path) -> Iterator[Path]:
    """Yield a lake beside `lake` with the same files, which is removed after the block: files never change."""
    beside = lake.with_name(f"{lake.name}-{os.getpid()}")
    shutil.copytree(lake / TABLE.name / "_delta_log", beside / TABLE.name / "_delta_log")
    shutil.copytree(lake / TABLE.name, beside / TABLE.name, copy_function=os.link, dirs_exist_ok=True, ignore=_log)
    try:
        yield beside
    finally:
        shutil.rmtree(beside)


def _log(folder: str, names: list[str]) -> set[str]:
    return {"_delta_log"} & set(names)


def measure(lake: Path, told: Connection) -> None:
    """Compact the hour and tell what it took; `sort_secs` says how fast this machine was before and after."""
    before = sort_secs()
    began = cpu_seconds()
    compacted = compact_hour(Ledger(TABLE, lake), HOUR)
    spent = cpu_seconds() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told.send(Cost(compacted, spent, peak, (before, sort_secs())))


def sort_secs() -> float:
    """Return the CPU seconds in which numpy sorts ten million numbers here and now; the least of three."""
    taken = []
    for seed in range(3):
        numbers = np.random.default_rng(seed).integers(0, 2**62, 10_000_000)
        began = cpu_seconds()
        numbers.sort()
        taken.append(cpu_seconds() - began)
    return min(taken)


def in_process(lake: Path) -> Cost:
    """Measure in a process that has done nothing else."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=measure, args=(lake, there))
    child.start()
    there.close()
    cost: Cost = here.recv()
    child.join()
    return cost


def main() -> None:
    """Write the hour where it is not there yet, compact a copy of it, print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--flushes", type=int, default=FLUSHES)
    parser.add_argument("--lake", type=Path, help="where the flushes lie, or are to be written and kept")
    options = parser.parse_args()
    folder = options.lake or Path(mkdtemp(prefix="wattline-compact-"))
    try:
        if not (folder / TABLE.name).exists():
            write_hour(folder, options.flushes)
        with copied(folder) as lake:
            tell_cost(in_process(lake), is_whole=options.flushes == FLUSHES)
    finally:
        if options.lake is None:
            shutil.rmtree(folder)


def tell_cost(cost: Cost, *, is_whole: bool) -> None:
    """Print the figures; the bars are those of a whole hour."""
    rows, size = cost.compacted.rows, cost.compacted.bytes_after
    name = f"lake: compaction of {rows:,} GPU rows, "
    tell(name + "CPU", cost.cpu_secs, "CPU-seconds", most=MOST_CPU_SECS if is_whole else None)
    tell(name + "CPU a row", cost.cpu_secs / rows * 1e9, "ns")
    tell(name + "peak of memory", cost.peak_bytes, "bytes", most=MOST_BYTES)
    tell(name + "ten million numbers sorted, before", cost.sort_secs[0], "CPU-seconds")
    tell(name + "ten million numbers sorted, after", cost.sort_secs[1], "CPU-seconds")
    tell(name + "files before", cost.compacted.files_before, "files")
    tell(name + "files after", cost.compacted.files_after, "files")
    tell(name + "before", cost.compacted.bytes_before / rows, "bytes/row")
    tell(name + "after", size / rows, "bytes/row")
    tell(name + "after", size / rows / VALUES, "bytes/value")


if __name__ == "__main__":
    main()
