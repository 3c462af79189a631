"""What windows of jobs cost at campus load: 300 jobs on all GPUs, in roll up and in the evaluator.

A campus second closes in 16 partitions; the join, its message and the windows are counted alone, each over the
same seconds, after the first of them. Prints one JSON line a figure.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import polars as pl

from benchmarks.campus import campus_registry
from benchmarks.figures import tell
from schemas import job_partial
from schemas.job import Allocation, Job, Placed
from schemas.message import Message
from schemas.registry import Registry
from schemas.subject import SubjectKind
from schemas.time import moment
from schemas.timeline import Timeline
from streams.closings import NOTHING
from streams.gpu_rows import GpuRows
from streams.gpu_slots import GpuSlots
from streams.in_force import InForce
from streams.job_book import JobBook
from streams.job_cells import JobSeconds, frame_of
from streams.job_sums import JobSums
from streams.job_telling import JobTelling
from streams.rings import Rings
from streams.windows_message import message_of

JOBS, PARTITIONS, SECONDS, START = 300, 16, 30, 1_772_366_400
ONCE = ("first plan", "a job more")


def records(registry: Registry) -> list[Placed[Job]]:
    """Return JOBS running jobs that share out all nodes, neighbours together."""
    paths = registry.paths(SubjectKind.NODE)
    nodes = np.array_split(registry.slots["node"].unique().sort().to_numpy(), JOBS)
    named = dict(paths.iter_rows())
    return [
        Placed(
            Message("telemetry.jobs.v1", 0, number, 0, b"", None, ()),
            0,
            Job(job=f"job-{number}", site="halo", started=moment((START - 60) * 1_000_000),
                allocations=[Allocation(int(node), path=named[node]) for node in theirs]),
        )
        for number, theirs in enumerate(nodes)
    ]  # fmt: skip


def seconds_of(rings: list[Rings], slots: GpuSlots) -> None:
    """Write SECONDS seconds of readings of all GPUs, racks dealt to partitions by turns."""
    draw, racks = np.random.default_rng(7), slots.rack % PARTITIONS
    for second in range(START, START + SECONDS):
        for partition, ring in enumerate(rings):
            theirs = np.flatnonzero(racks == partition)
            count = len(theirs)
            whole = (
                draw.integers(low, high, count) for low, high in ((0, 10**6), (900, 7_000), (0, 10**4), (1_300, 1_800))
            )
            micros, power, utilization, warmth = whole
            ring.write(
                GpuRows(np.full(count, second), theirs, micros.astype(np.int32), power.astype(np.int32),
                        utilization.astype(np.int16), warmth.astype(np.int32), np.full(count, second))
            )  # fmt: skip


def measure() -> dict[str, float]:
    """Return the CPU seconds of each step, a second of the campus, but those of ONCE."""
    registry = campus_registry()
    in_force = InForce.of(Timeline.always(registry))
    slots = in_force.between(START, START + 1)[0].slots
    rings = [Rings(in_force, 32) for _ in range(PARTITIONS)]
    seconds_of(rings, slots)
    book = JobBook()
    placed = records(registry)
    book.hear(placed, JOBS)
    tellings = [JobTelling(book) for _ in rings]
    sums, spent = (
        JobSums(book, JOBS, NOTHING),
        dict.fromkeys(("first plan", "join", "encode", "windows", "encode windows", "a job more"), 0.0),
    )

    def timed(step: str, work: Callable[[], object]) -> object:
        began = time.process_time()
        found = work()
        spent[step] += time.process_time() - began
        return found

    def joined(second: int) -> list[tuple[int, JobSeconds]]:
        for telling, ring in zip(tellings, rings, strict=True):
            telling.closed(ring, second, second + 1)
        return [(number, said) for number, telling in enumerate(tellings) for said in telling.take()]

    timed("first plan", lambda: joined(START))
    again = placed[0]._replace(message=placed[0].message._replace(offset=JOBS))
    timed("a job more", lambda: (book.hear([again], JOBS + 1), book.plan(START, slots)))
    for second in range(START + 1, START + SECONDS):
        said = timed("join", lambda s=second: joined(s))
        rows: pl.DataFrame = timed("encode", lambda s=said: (f := frame_of(s), job_partial.encode(f))[0])  # type: ignore
        sums.take(rows, NOTHING, NOTHING)
        windows = timed("windows", lambda s=second: sums.close({s * 1_000_000: frozenset()}, registry, NOTHING, ()))
        timed("encode windows", lambda w=windows: [message_of(each) for each in w])  # type: ignore[attr-defined]
    return {step: value if step in ONCE else value / (SECONDS - 1) for step, value in spent.items()}


def main() -> None:
    figures = measure()
    for step, value in figures.items():
        tell(f"jobs, {step}", value, "s" if step in ONCE else "core")
    tell("jobs, all of roll up", figures["join"] + figures["encode"], "core", most=0.01)
    tell("jobs, all of evaluate", figures["windows"] + figures["encode windows"], "core", most=0.02)


if __name__ == "__main__":
    main()
