"""A small campus whose messages go both ways: through the live stages, and into a lake."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from history.recompute import Recomputed
from schemas import arrow
from schemas.admission import Clock
from schemas.column import Record
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.message import Message
from schemas.meter import METER
from schemas.registry import Registry, assign
from schemas.timeline import Timeline, admit_in_force
from schemas.topics import BY_NAME
from sinks.lake.flush import Tables
from sinks.lake.positions import Source
from streams.devices import SiteMinute
from streams.evaluate import Evaluator, Output, SiteWindows
from streams.in_force import InForce
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.watches import Watches
from tests.schemas.small_facility import facility, site

SECOND = 1_000_000
START = 1_772_366_400 * SECOND
"""2026-03-01T12:00:00Z."""
ALL = [(topic, number) for topic in (GPU_TOPIC, METER_TOPIC) for number in range(BY_NAME[topic].partitions)]


def two_racks() -> Registry:
    """Return two racks of 16 GPUs with two inputs each, in one row."""
    return assign(facility(site({"r01": {"type": "box", "first": 1, "last": 2}})))


class Log:
    """Write messages of readings, each with the offset after the last one of its partition."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.messages: list[Message] = []
        self._ends: dict[tuple[str, int], int] = {}

    def send(self, topic: str, partition: int, record: Record, rows: pl.DataFrame, appended: int) -> None:
        offset = self._ends.get((topic, partition), 0)
        self._ends[topic, partition] = offset + 1
        value = arrow.encode(record, rows)
        self.messages.append(Message(topic, partition, offset, appended, b"k", value, tuple(arrow.headers(record))))

    def meter(self, at: float, meter: int, watts: float, *, partition: int = 0, appended: float | None = None) -> None:
        rows = filled(
            METER, time=[START + round(at * SECOND)], meter=[meter], level=[6], phase=[0], power_watts=[watts]
        )
        self.send(METER_TOPIC, partition, METER, rows, self._append_time(at, appended))

    def json_meter(self, at: float, path: str, watts: float) -> None:
        """Send one reading of a meter by its path, as a collector that knows no ids does."""
        offset = self._ends.get((METER_TOPIC, 3), 0)
        self._ends[METER_TOPIC, 3] = offset + 1
        time = START + round(at * SECOND)
        value = json.dumps({"time": time, "meter": path, "level": 6, "power_watts": watts}).encode()
        self.messages.append(Message(METER_TOPIC, 3, offset, time + 20_000, b"k", value, ()))

    def gpus(self, at: float, rack: int, watts: float, *, partition: int = 0, appended: float | None = None) -> None:
        slots = self.registry.slots.filter(pl.col("rack") == rack)
        some = {"power_watts": [watts] * len(slots), "utilization_fraction": [0.5] * len(slots)}
        where = {name: slots[name].to_list() for name in ("rack", "node", "gpu")}
        rows = filled(GPU, time=[START + round(at * SECOND)] * len(slots), **where, **some)
        self.send(GPU_TOPIC, partition, GPU, rows, self._append_time(at, appended))

    @staticmethod
    def _append_time(at: float, appended: float | None) -> int:
        return START + round((at + 0.02 if appended is None else appended) * SECOND)


def filled(record: Record, **columns: Any) -> pl.DataFrame:
    given = pl.DataFrame(columns, strict=False)
    nulls = (pl.lit(None).alias(name) for name in record.polars if name not in given.columns)
    return given.with_columns(*nulls).select(pl.col(name).cast(dtype) for name, dtype in record.polars.items())


def seconds_of_load(log: Log, first: int, end: int, seed: int = 0, *, skip: Iterable[int] = ()) -> None:
    """Send what two racks and their inputs say in each second, but for the seconds to skip."""
    draw = np.random.default_rng(seed)
    left_out = set(skip)
    for second in range(first, end):
        if second in left_out:
            continue
        for rack in log.registry.racks["rack"]:
            log.gpus(second + 0.1, rack, round(float(draw.uniform(100, 700)), 1), partition=rack % 16)
        for meter in log.registry.meters["meter"]:
            log.meter(second + 0.3, meter, round(float(draw.uniform(3_000, 9_000)), 3), partition=meter % 4)


def live(registry: Registry, messages: Sequence[Message], *, drain: int = 40, clock: Clock = "wall") -> Recomputed:
    """Return the windows that the live stages tell of messages, the log's end closed by idle notes."""
    timeline = Timeline.always(registry)
    roll_up, evaluator = RollUp(InForce.of(timeline)), Evaluator(Watches((), timeline), ALL)
    for partition in ALL:
        roll_up.assign(partition, "", 0)
    told, offset = Recomputed([], []), 0
    for begin in [*range(0, len(messages), drain), None]:
        partials = [] if begin is not None else roll_up.idle(ALL, START + 3_600 * SECOND)
        for topic, record in ((GPU_TOPIC, GPU), (METER_TOPIC, METER)):
            some = (
                [each for each in messages[begin : begin + drain] if each.topic == topic] if begin is not None else []
            )
            if some:
                rows = admit_in_force(record, decode(topic, some, registry).frame, timeline, clock=clock).rows
                partials += roll_up.feed(topic, rows, {each.partition: each.offset + 1 for each in some}, 0)
        for envelope, rows in partials:
            evaluator.take(offset, envelope, rows)
            offset += 1
            _add(told, evaluator.close())
    while evaluator.is_behind:
        _add(told, evaluator.close())
    return told


def _add(told: Recomputed, output: Output) -> None:
    told.windows.extend(output.windows)
    told.minutes.extend(output.minutes)


def standing(windows: Iterable[SiteWindows | SiteMinute]) -> pl.DataFrame:
    """Return of each window, or bin of one, the greatest version."""
    rows = pl.concat(each.rows for each in windows)
    bins = [name for name in ("metric", "bin") if name in rows.columns]
    key = ["every_seconds", "window_start", "subject_kind", "subject", *bins]
    version = ["version_admission", "version_facility", "version_generation", "version_readings", "version_digest"]
    return rows.sort(*key, *version).unique(key, keep="last", maintain_order=True)


def written(lake: Path, registry: Registry, messages: Sequence[Message], *, clock: Clock = "wall") -> Path:
    """Write messages, and the facility, into a lake; return it."""
    tables = Tables(lake, clock)
    pending: dict[Source, list[Message]] = {}
    for number, (path, document) in enumerate(registry.to_json().items()):
        said = Message("facility.v1", 0, number, START - 60 * SECOND, path.encode(), document, ())
        pending.setdefault(Source("facility.v1", 0), []).append(said)
    for message in messages:
        pending.setdefault(Source(message.topic, message.partition), []).append(message)
    tables.flush(pending, registry)
    return lake


def publish_late(lake: Path, registry: Registry, offset: int, appended: int) -> None:
    """Write one more version of the facility into a lake."""
    ((path, document),) = registry.to_json().items()
    said = Message("facility.v1", 0, offset, appended, path.encode(), document, ())
    Tables(lake).flush({Source("facility.v1", 0): [said]}, registry)
