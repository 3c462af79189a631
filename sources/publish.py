"""The one way from a source to the topics: readings in frames become native messages, jobs become JSON.

A message holds one key. GPU readings go out one rack a message, meter readings one meter group a
message, both at most `ROWS_PER_MESSAGE` rows. Within one call rows keep their order. A caller that
sends several racks or groups calls once a second of event time, or a slower one of two keys on a
partition would look late to the streams.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Protocol

import polars as pl

from schemas import arrow, job
from schemas.column import Record
from schemas.gpu import GPU
from schemas.job import Job, Progress
from schemas.meter import METER
from schemas.registry import Registry
from schemas.subject import SubjectKind

ROWS_PER_MESSAGE = 5_000
"""Under half a megabyte of Arrow, so that no producer's limit on a request is met."""

UNREGISTERED = "unregistered"
"""The meter group of meters that the registry does not know."""

_JSON_HEADERS = [("content-type", b"application/json")]

Headers = list[tuple[str, bytes]]
Acknowledged = asyncio.Future[tuple[int, int]]


class Sender(Protocol):
    """Send one message; the awaitable that comes back resolves to (partition, offset) when it is safe."""

    async def send(self, topic: str, value: bytes, *, key: bytes, headers: Headers) -> Acknowledged:
        """Hand one message over; return before it is safe."""
        ...


class Publisher:
    """Send readings and jobs, and count what Kafka has acknowledged.

    With a registry keys are paths (`ruh/h1/r04/k17`), without one they are the integer ids.
    `acknowledged` holds rows by topic; `messages` what was sent. The first send that failed is
    raised by the next call.
    """

    def __init__(self, producer: Sender, registry: Registry | None = None) -> None:
        self.acknowledged: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self._producer = producer
        self._registry = registry
        self._pending: set[Acknowledged] = set()
        self._failure: BaseException | None = None

    async def gpu(self, frame: pl.DataFrame) -> int:
        """Send GPU readings, one rack a message; return the number of messages.

        **Frame** in: the columns of `schemas.gpu.GPU`; columns that are missing travel as null.
        """
        return await self._native("telemetry.gpu.v1", GPU, _wire(GPU, frame), frame["rack"], self._rack_key)

    async def power(self, frame: pl.DataFrame, group: str | None = None) -> int:
        """Send meter readings, one meter group a message; return the number of messages.

        **Frame** in: the columns of `schemas.meter.METER`; columns that are missing travel as null.
        `group` names the collector whose readings these are and becomes the key of them all;
        without it `meter_groups` names the group of each meter.
        """
        keys = self._groups(frame) if group is None else pl.repeat(group, len(frame), dtype=pl.String, eager=True)
        return await self._native("telemetry.power.v1", METER, _wire(METER, frame), keys, str)

    async def jobs(self, jobs: Iterable[Job]) -> int:
        """Send job records, one a message, keyed by the job; a later record amends an earlier one."""
        return await self._records("telemetry.jobs.v1", jobs)

    async def progress(self, progress: Iterable[Progress]) -> int:
        """Send what jobs produced, one record a message, keyed by the job."""
        return await self._records("telemetry.progress.v1", progress)

    async def flush(self) -> None:
        """Wait until everything sent so far is acknowledged; raise the first failure."""
        while self._pending:
            await asyncio.wait(self._pending)
        self._raise_failure()

    async def _native(
        self, topic: str, record: Record, wire: pl.DataFrame, keys: pl.Series, name: Callable[[object], str]
    ) -> int:
        """Send the rows of each key together; one encoding of all is sliced, so that many keys cost little."""
        sent = 0
        wire, runs = _runs(wire, keys)
        slices = arrow.encode_slices(record, wire, [length for _, length in runs])
        for (key, length), value in zip(runs, slices, strict=True):
            await self._send(topic, value, name(key), arrow.headers(record), length)
            sent += 1
        return sent

    async def _records(self, topic: str, records: Iterable[Job] | Iterable[Progress]) -> int:
        sent = 0
        for record in records:
            await self._send(topic, job.encode(record), record.job, _JSON_HEADERS, 1)
            sent += 1
        return sent

    async def _send(self, topic: str, value: bytes, key: str, headers: Headers, rows: int) -> None:
        self._raise_failure()
        acknowledged = await self._producer.send(topic, value, key=key.encode(), headers=headers)
        self.messages[topic] += 1
        self._pending.add(acknowledged)
        acknowledged.add_done_callback(partial(self._settle, topic, rows))

    def _settle(self, topic: str, rows: int, acknowledged: Acknowledged) -> None:
        self._pending.discard(acknowledged)
        failure = asyncio.CancelledError() if acknowledged.cancelled() else acknowledged.exception()
        if failure is None:
            self.acknowledged[topic] += rows
        else:
            self._failure = self._failure or failure

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _groups(self, frame: pl.DataFrame) -> pl.Series:
        grouped = frame.select("meter").join(self._meter_groups, on="meter", how="left", maintain_order="left")
        return grouped["group"].fill_null(UNREGISTERED)

    def _rack_key(self, rack: object) -> str:
        path = self._registry.path_of(SubjectKind.RACK, int(str(rack))) if self._registry is not None else None
        return path or str(rack)

    @cached_property
    def _meter_groups(self) -> pl.DataFrame:
        return meter_groups(self._registry) if self._registry is not None else pl.DataFrame(schema=_METER_GROUPS)


_METER_GROUPS = {"meter": pl.Int32, "group": pl.String}


def meter_groups(registry: Registry) -> pl.DataFrame:
    """Return frame (meter, group), who is sent together: racks of a row, switchgear of a hall, the rest of a site.

    Every message costs the streams 60 to 170 µs, whatever is in it: a feed of its own would be a message of its own.
    """
    of_row, of_hall = (rf"^([^/]+(?:/[^/]+){{0,{depth}}})/" for depth in (2, 1))
    path = pl.col("path")
    of_rack = pl.col("subject_kind").is_in([SubjectKind.RACK, SubjectKind.NODE])
    place = pl.when(of_rack).then(path.str.extract(of_row)).otherwise(path.str.extract(of_hall))
    return registry.meters.select("meter", group=place.fill_null(path))


def _wire(record: Record, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the record's columns in wire order and type; what the frame lacks is null."""
    columns = [
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in record.polars.items()
    ]
    return frame.select(columns)


def _runs(wire: pl.DataFrame, keys: pl.Series) -> tuple[pl.DataFrame, list[tuple[object, int]]]:
    """Return the rows by key, in their order within each, and (key, number of rows) a message."""
    if not keys.is_sorted():
        ordered = wire.with_columns(_key=keys).sort("_key", maintain_order=True)
        wire, keys = ordered.drop("_key"), ordered["_key"]
    runs = keys.rle().struct.unnest()
    return wire, [
        (key, min(ROWS_PER_MESSAGE, length - first))
        for length, key in runs.select("len", "value").iter_rows()
        for first in range(0, length, ROWS_PER_MESSAGE)
    ]
