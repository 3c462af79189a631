"""Roll up: admitted readings in, partials out. Pure: the clock is a parameter, Kafka is elsewhere.

Closings and revisions are a function of the log alone: cut into any drains, read again from the committed
place after a kill, they are the same. Only idle notes depend on the clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import polars as pl

from schemas.job import Job, Placed
from schemas.partial import Partial
from schemas.recomputation import Asked, Reason
from schemas.timeline import Timeline
from streams.closing import NO_TIME, SECOND, Messages
from streams.gpu_intake import GPU_TOPIC, GpuIntake
from streams.gpu_stream import GpuStream
from streams.in_force import InForce
from streams.job_book import JobBook
from streams.job_cells import frame_of
from streams.late_spans import LateSpans
from streams.meter_log import MeterLog
from streams.meter_rows import in_log_order
from streams.meter_stream import MeterStream
from streams.stream import Stream

METER_TOPIC = "telemetry.power.v1"
JOBS_TOPIC = "telemetry.jobs.v1"

Partition = tuple[str, int]


class RollUp:
    """Hold the streams of the partitions that this worker has; each second is told by the facility in force in it."""

    def __init__(
        self, in_force: InForce, *, clock: Literal["wall", "event"] = "wall", jobs: JobBook | None = None
    ) -> None:
        self.in_force = in_force
        self.jobs = JobBook() if jobs is None else jobs
        self._clock = clock
        self._jobs_amended = LateSpans()
        self._streams: dict[Partition, Stream[Any]] = {}

    def assign(self, partition: Partition, note: str, now: int) -> None:
        """Begin a partition anew; `note` is what `places` said of it when its place was committed, or ""."""
        topic, number = partition
        if topic == GPU_TOPIC:
            stream = GpuStream(topic, number, self.in_force, note=note, now=now, jobs=self.jobs)
            self._note_amended(stream.resumed())
            self._streams[partition] = stream
        else:
            floor = int(note) if note else None
            self._streams[partition] = MeterStream(topic, number, self.in_force, floor=floor, now=now)

    def forget(self, partition: Partition) -> None:
        """Let go of a partition that another worker has now."""
        self._streams.pop(partition, None)

    def lose(self, partition: Partition, now: int) -> None:
        """Begin a partition anew whose log lost what was to be read next; what that leaves open is asked for."""
        before = self._streams[partition]
        self.assign(partition, "", now)
        self._streams[partition].lost_after(before)

    def feed(self, topic: str, rows: pl.DataFrame, next_offsets: Mapping[int, int], now: int) -> list[Partial]:
        """Take admitted rows of a topic, and the offset after the last message of each partition that came.

        **Frame in** the record's columns, the quantized integers of admission, `_partition`, `_offset`.
        Returns closings and revisions in the order in which they must be sent.
        """
        if topic == GPU_TOPIC:
            return self.feed_gpu(GpuIntake.of(rows, self.in_force), next_offsets, now)
        log = in_log_order([MeterLog.of(rows, self.in_force)])
        return self.feed_meters(log, next_offsets, now)

    def feed_meters(self, log: MeterLog, next_offsets: Mapping[int, int], now: int) -> list[Partial]:
        """Take meter readings as `feed` does."""
        messages = Messages.of(log.time, log.offset, log.partition)
        partials: list[Partial] = []
        for number, next_offset in sorted(next_offsets.items()):
            start, end = np.searchsorted(log.partition, (number, number + 1)).tolist()
            part, own = log.part(start, end), messages.part(start, end)
            partials += self._streams[METER_TOPIC, number].feed(part, own, next_offset, now)
        return partials

    def feed_gpu(self, intake: GpuIntake, next_offsets: Mapping[int, int], now: int) -> list[Partial]:
        """Take GPU readings as `feed` does."""
        parts = {number: (rows, messages) for number, rows, messages in intake.by_partition()}
        nothing = (intake.rows.part(0, 0), intake.messages.part(0, 0))
        partials: list[Partial] = []
        for number, next_offset in sorted(next_offsets.items()):
            rows, messages = parts.get(number, nothing)
            partials += self._streams[GPU_TOPIC, number].feed(rows, messages, next_offset, now)
        return partials

    @property
    def closed(self) -> int:
        """Return how many seconds all streams have closed together; it grows with each that one of them closes."""
        return sum(stream.closed or 0 for stream in self._streams.values())

    def pieces(self) -> Iterator[list[Partial]]:
        """Yield, by partition, the pieces of minutes that can be told: after the seconds, which somebody waits for."""
        for stream in self._gpu_streams():
            if partials := stream.pieces():
                yield partials

    def closes_in(self, partition: Partition) -> int:
        """Return by how many µs the watermark of a partition must move on for its next second to close.

        0 of one that is another worker's by now, of which messages may still wait while a rebalance is on its way.
        """
        stream = self._streams.get(partition)
        return 0 if stream is None else stream.closes_in

    def hear(self, records: Iterable[Placed[Job]], through: int) -> None:
        """Take records of jobs in log order and the offset after the last message: what they change is told again."""
        if amended := self.jobs.hear(records, through):
            for stream in self._gpu_streams():
                self._note_amended(stream.amend(amended))

    def job_rows(self) -> pl.DataFrame | None:
        """Return the seconds of jobs since the last call, JOB_PARTIAL rows by second; before partials are sent."""
        said = [(stream.partition, rows) for stream in self._gpu_streams() for rows in stream.jobs.take()]
        return frame_of(said) if said else None

    def follow(self, timeline: Timeline) -> None:
        """Know a longer timeline; seconds of which readings were taken already stay as they were."""
        self.jobs.follow(timeline.places)
        newest = max((stream.watermark for stream in self._streams.values()), default=NO_TIME)
        self.in_force.follow(timeline, newest // SECOND + 1)

    def idle(self, at_log_end: Collection[Partition], now: int) -> list[Partial]:
        """Return the idle notes that are due, of partitions that have nothing more in their log."""
        due = sorted(self._streams.keys() & set(at_log_end))
        return [partial for partition in due for partial in self._streams[partition].idle(now, self._clock)]

    def places(self) -> dict[Partition, tuple[int, str]]:
        """Return where each partition can be read again, and the note to commit beside the offset."""
        places = {partition: stream.place() for partition, stream in self._streams.items()}
        return {partition: place for partition, place in places.items() if place is not None}

    @property
    def open_seconds(self) -> int:
        """Return how many seconds began and did not close yet, over all partitions."""
        return sum(stream.open_seconds for stream in self._streams.values())

    @property
    def asking(self) -> set[Partition]:
        """Return the partitions of which `asks` has something to ask for: a restart must read that again.

        What records of jobs amended concerns all partitions of GPUs: their places say which records were heard.
        """
        amended = {GPU_TOPIC} if self._jobs_amended else set()
        return {at for at, stream in self._streams.items() if stream.is_asking or at[0] in amended}

    def asks(self) -> list[Asked]:
        """Return the requests for what came later than the horizon, was gone, or was amended, since the last call."""
        late = [
            Asked(None, first * SECOND, end * SECOND, reason, topic, number, stream.next_offset or 0)
            for (topic, number), stream in sorted(self._streams.items())
            for reason, spans in _reasons(stream)
            for first, end in spans.take()
        ]
        return late + [
            Asked(None, first * SECOND, end * SECOND, "jobs", JOBS_TOPIC, 0, self.jobs.heard)
            for first, end in self._jobs_amended.take()
        ]

    def too_late(self) -> dict[Partition, int]:
        """Return how many readings came later than the horizon: in the lake, in no window."""
        return {partition: stream.too_late for partition, stream in self._streams.items() if stream.too_late}

    def _gpu_streams(self) -> list[GpuStream]:
        return [stream for _, stream in sorted(self._streams.items()) if isinstance(stream, GpuStream)]

    def _note_amended(self, seconds: Iterable[tuple[int, int]]) -> None:
        spans = np.array(list(seconds), np.int64).reshape(-1, 2)
        self._jobs_amended.note(spans[:, 0], spans[:, 1])


def _reasons(stream: Stream[Any]) -> tuple[tuple[Reason, LateSpans], ...]:
    return ("late", stream.late), ("lost", stream.lost)
