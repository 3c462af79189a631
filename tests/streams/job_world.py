"""A small world of GPUs and jobs: its log in any drains, workers that die, and what its windows must say, slowly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from math import ceil
from typing import NamedTuple

import polars as pl

from schemas.job import Allocation, Job, Placed, job_subject
from schemas.message import Message
from schemas.partial import Partial
from schemas.subject import SubjectKind
from schemas.time import moment
from schemas.timeline import Timeline
from schemas.window import WINDOW
from streams.evaluate import Evaluator, SiteWindows
from streams.in_force import InForce
from streams.job_book import JobBook
from streams.roll_up import GPU_TOPIC, RollUp
from streams.snapshot import decode, restore, take
from streams.watches import Watches
from tests.history.small_lake import START, two_racks
from tests.streams.log import SECOND

STREAMS = [(GPU_TOPIC, 0), (GPU_TOPIC, 1)]
NAMEPLATE = 700_000
"""Of each GPU, mW."""
LONG_AFTER = 4_000_000_000_000_000


class Reading(NamedTuple):
    """One GPU reading; `at` in seconds after START."""

    at: float
    rack: int
    node: int
    gpu: int
    deciwatts: int | None


class Said(NamedTuple):
    """One record of a job: it has `gpus` of each of `nodes` from `started` to `ended`, seconds after START."""

    job: str
    started: float
    ended: float | None
    nodes: tuple[int, ...]
    gpus: tuple[int, int]

    def placed(self, offset: int) -> Placed[Job]:
        at = [None if each is None else moment(START) + timedelta(seconds=each) for each in (self.started, self.ended)]
        parts = [Allocation(node, *self.gpus, path=f"n{node}") for node in self.nodes]
        said = Job(job=self.job, site="ruh", started=at[0], ended=at[1], allocations=parts)
        return Placed(Message("telemetry.jobs.v1", 0, offset, 0, self.job.encode(), None, ()), 0, said)

    def has(self, second: int, node: int, gpu: int) -> bool:
        runs = ceil(self.started) <= second and (self.ended is None or second < ceil(self.ended))
        return runs and node in self.nodes and self.gpus[0] <= gpu <= self.gpus[1]


def frame(partition: int, messages: Iterable[tuple[int, Sequence[Reading]]]) -> pl.DataFrame:
    """Return the admitted rows of numbered messages."""
    schema = {
        "_partition": pl.Int32, "_offset": pl.Int64, "time": pl.Int64, "rack": pl.Int32, "node": pl.Int32,
        "gpu": pl.Int32, "power_deciwatts": pl.Int32, "utilization_e4": pl.Int16, "temperature_celsius": pl.Float32,
        "instance": pl.Int16, "energy_whole_joules": pl.Int64,
    }  # fmt: skip
    rows = [
        (partition, offset, START + round(r.at * SECOND), r.rack, r.node, r.gpu, r.deciwatts, 5_000, 40.0, None, None)
        for offset, readings in messages
        for r in readings
    ]
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("time").cast(pl.Datetime("us")))


class World:
    """Two partitions of GPUs, a log of jobs, a roll-up worker and an evaluator, both of which may die."""

    def __init__(self, logs: Sequence[Sequence[Sequence[Reading]]], records: Sequence[Said]) -> None:
        self.registry = two_racks()
        self.timeline = Timeline.always(self.registry)
        self.logs, self.records = logs, [each.placed(offset) for offset, each in enumerate(records)]
        self.partials: list[Partial | pl.DataFrame] = []
        self.windows: list[SiteWindows] = []
        self.asked: list[tuple[int, int]] = []
        self.committed = dict.fromkeys(STREAMS, (0, ""))
        self.evaluator = Evaluator(Watches((), self.timeline), STREAMS, book=JobBook())
        self.kept, self.heard, self.taken = take(self.evaluator, {}).encode(), 0, 0
        self.begin(0)

    def begin(self, heard: int) -> None:
        """Begin the worker anew at the committed places; it has heard so many records."""
        book = JobBook()
        book.hear(self.records[:heard], heard)
        self.roll_up = RollUp(InForce.of(self.timeline), clock="event", jobs=book)
        self.read = [self.committed[stream][0] for stream in STREAMS]
        for stream in STREAMS:
            self.roll_up.assign(stream, self.committed[stream][1], 0)

    def hear(self, through: int) -> None:
        """Let the worker hear of records."""
        self.roll_up.hear(self.records[self.roll_up.jobs.heard : through], max(through, self.roll_up.jobs.heard))

    def drain(self, partition: int, count: int) -> None:
        """Let the worker read so many more messages of a partition."""
        first, end = self.read[partition], min(self.read[partition] + count, len(self.logs[partition]))
        self.read[partition] = end
        rows = frame(partition, ((offset, self.logs[partition][offset]) for offset in range(first, end)))
        self._send(self.roll_up.feed(GPU_TOPIC, rows, {partition: end}, 0) if first < end else [])

    def idle(self) -> None:
        """Let both partitions have nothing more."""
        self._send(self.roll_up.idle(STREAMS, LONG_AFTER))

    def commit(self) -> None:
        """Ask for what only the lake can mend, then commit."""
        self.asked += [(each.first_second, each.end_second) for each in self.roll_up.asks() if each.reason == "jobs"]
        self.committed |= self.roll_up.places()

    def evaluate(self, count: int) -> None:
        """Let the evaluator take so many messages, each once it has heard the records by which it was told."""
        for offset in range(self.taken, min(self.taken + count, len(self.partials))):
            said = self.partials[offset]
            if isinstance(said, pl.DataFrame):
                self._hear_as_evaluator(int(said["job_record"].max()))
                self.evaluator.take_jobs(offset, said)
            else:
                self.evaluator.take(offset, said.envelope, said.rows)
            self.taken = offset + 1
        self.tell()
        if self.taken == len(self.partials):
            self.evaluator.sums.jobs.caught_up()

    def tell(self, records: int = 0) -> None:
        """Let the evaluator hear of records and tell what there is."""
        self._hear_as_evaluator(records)
        self.windows += self.evaluator.close().windows
        while self.evaluator.is_behind:
            self.windows += self.evaluator.close().windows

    def snapshot(self) -> None:
        self.kept = take(self.evaluator, {}).encode()

    def come_back(self, heard: int) -> None:
        """Begin the evaluator anew from its snapshot, with so many records heard."""
        book = JobBook()
        book.hear(self.records[:heard], heard)
        restored = restore(decode(self.kept), Watches((), self.timeline), STREAMS, book)
        self.evaluator, self.taken = restored.evaluator, restored.positions["windows.rack.v1", 0]

    def to_the_end(self) -> World:
        """Hear all, read all, tell all."""
        self.hear(len(self.records))
        for partition in (0, 1):
            self.drain(partition, 100_000)
        self.hear(len(self.records))
        self.idle()
        self.commit()
        self.evaluate(100_000)
        self.tell(len(self.records))
        return self

    def jobs(self) -> pl.DataFrame:
        """Return of each window of a job the greatest version, without those that were withdrawn."""
        key = ["every_seconds", "window_start", "subject"]
        version = ["version_admission", "version_facility", "version_generation", "version_readings", "version_digest"]
        rows = pl.concat([WINDOW.empty(), *(each.rows for each in self.windows)]).filter(
            pl.col("subject_kind") == SubjectKind.JOB
        )
        newest = (
            rows.filter(pl.col("subject_kind") == SubjectKind.JOB)
            .sort(*key, *version)
            .unique(key, keep="last", maintain_order=True)
        )
        return newest.filter(pl.col("expected") > 0)

    def _hear_as_evaluator(self, through: int) -> None:
        heard = self.evaluator.sums.jobs.book.heard
        if through > heard:
            self.evaluator.sums.hear_jobs(self.records[heard:through], through)

    def _send(self, partials: list[Partial]) -> None:
        if (rows := self.roll_up.job_rows()) is not None:
            self.partials.append(rows)
        self.partials += partials


def expected_minutes(
    logs: Sequence[Sequence[Sequence[Reading]]], records: Sequence[Said], minutes: Iterable[int]
) -> pl.DataFrame:
    """Return, slowly, the minutes of jobs from START on: of all of a job's seconds, those too in which nobody spoke."""
    spoken = {int(r.at) for log in logs for message in log for r in message}
    rows = []
    for minute in minutes:
        of_minute = expected(logs, records, range(minute * 60, minute * 60 + 60))
        for (subject,), seconds in of_minute.group_by("subject"):
            if spoken.isdisjoint(seconds["at"]):
                continue
            drawn = [round((watts or 0) * 1000) for watts in seconds["watts"]]
            most = [d + NAMEPLATE * (e - r) for d, e, r in zip(drawn, *seconds[["expected", "reporting"]], strict=True)]
            told = len(seconds["watts"].drop_nulls())
            power, low, high = (
                round(sum(of) / count) / 1000 if count else None
                for of, count in ((drawn, told), (drawn, len(drawn)), (most, len(most)))
            )
            joules = sum(drawn) / 1000 if told else None
            counts = seconds["expected"].max(), seconds["reporting"].min()
            rows.append((minute, subject, *counts, power, low, high, joules))
    schema = {"minute": pl.Int64, "subject": pl.Int64, "expected": pl.Int64, "reporting": pl.Int64,
              "power_watts": pl.Float64, "power_low_watts": pl.Float64, "power_high_watts": pl.Float64,
              "energy_joules": pl.Float64}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row").sort("minute", "subject")


def expected(
    logs: Sequence[Sequence[Sequence[Reading]]], records: Sequence[Said], seconds: Iterable[int]
) -> pl.DataFrame:
    """Return, slowly, (at, subject, expected, reporting, watts) of the seconds of jobs by their newest records."""
    newest = {each.job: each for each in records}
    slots = two_racks().slots.select("node", "gpu").rows()
    standing: dict[tuple[int, int, int], tuple[bool, float, int]] = {}
    for r in (each for log in logs for message in log for each in message):
        place, rank = (int(r.at), r.node, r.gpu), (r.deciwatts is not None, r.at, r.deciwatts or 0)
        standing[place] = max(rank, standing.get(place, rank))
    rows = []
    for second in seconds:
        for name, said in newest.items():
            mine = [slot for slot in slots if said.has(second, *slot)]
            powers = [standing[second, *slot][2] for slot in mine if standing.get((second, *slot), (False,))[0]]
            if mine:
                watts = sum(powers) / 10 if powers else None
                rows.append((second, job_subject("ruh", name), len(mine), len(powers), watts))
    schema = {"at": pl.Int64, "subject": pl.Int64, "expected": pl.Int64, "reporting": pl.Int64, "watts": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("at", "subject")
