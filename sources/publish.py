"""The one way from a source to the topics: readings in frames become native messages, jobs become JSON.

A message holds one key. GPU readings go out one rack a message, meter readings one meter group a
message, both at most `ROWS_PER_MESSAGE` rows. Within one call rows keep their order. A caller that
sends several racks or groups calls once a second of event time, or a slower one of two keys on a
partition would look late to the streams.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from functools import cached_property, partial
from typing import Protocol

import msgspec
import polars as pl

from schemas import arrow
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
        sent = 0
        for (rack,), rows in frame.group_by("rack", maintain_order=True):
            sent += await self._native("telemetry.gpu.v1", GPU, rows, self._rack_key(rack))
        return sent

    async def power(self, frame: pl.DataFrame, group: str | None = None) -> int:
        """Send meter readings, one meter group a message; return the number of messages.

        **Frame** in: the columns of `schemas.meter.METER`; columns that are missing travel as null.
        `group` names the collector whose readings these are and becomes the key of them all;
        without it the registry's site/hall/row of each meter is its group.
        """
        if group is not None:
            return await self._native("telemetry.power.v1", METER, frame, group)
        grouped = frame.join(self._meter_groups, on="meter", how="left", maintain_order="left")
        grouped = grouped.with_columns(pl.col("_group").fill_null(UNREGISTERED))
        sent = 0
        for (key,), rows in grouped.group_by("_group", maintain_order=True):
            sent += await self._native("telemetry.power.v1", METER, rows, str(key))
        return sent

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

    async def _native(self, topic: str, record: Record, frame: pl.DataFrame, key: str) -> int:
        sent = 0
        for rows in _wire(record, frame).iter_slices(ROWS_PER_MESSAGE):
            await self._send(topic, arrow.encode(record, rows), key, arrow.headers(record), len(rows))
            sent += 1
        return sent

    async def _records(self, topic: str, records: Iterable[Job] | Iterable[Progress]) -> int:
        sent = 0
        for record in records:
            await self._send(topic, msgspec.json.encode(record), record.job, _JSON_HEADERS, 1)
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

    def _rack_key(self, rack: object) -> str:
        path = self._registry.path_of(SubjectKind.RACK, int(str(rack))) if self._registry is not None else None
        return path or str(rack)

    @cached_property
    def _meter_groups(self) -> pl.DataFrame:
        if self._registry is None:
            return pl.DataFrame(schema={"meter": pl.Int32, "_group": pl.String})
        place = pl.col("path").str.extract(r"^([^/]+(?:/[^/]+){0,2})/").fill_null(pl.col("path"))
        return self._registry.meters.select("meter", _group=place)


def _wire(record: Record, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the record's columns in wire order and type; what the frame lacks is null."""
    columns = [
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in record.polars.items()
    ]
    return frame.select(columns)
