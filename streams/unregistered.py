"""Who reports and is in no facility: kept in the lake, counted here, shown by name, and in no sum."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl

from schemas import canary
from schemas.decode import decode
from schemas.message import Message
from schemas.subject import SubjectKind
from schemas.timeline import KnownPlaces
from streams.gpu_intake import GPU_TOPIC
from streams.gpu_rows import GpuRows
from streams.in_force import InForce, span
from streams.meter_intake import POWER_TOPIC as METER_TOPIC
from streams.meter_log import NULL, MeterLog

NAMED_EVERY_SECS = 5.0
"""Rows are counted always; whose they are is found out so often, by decoding a block once more."""
FORGOTTEN_AFTER_SECS = 60.0
MOST_NAMES = 100
RACK_DEPTH = 4
"""Segments of a rack's path: what is below it is named by its rack."""


class Unregistered:
    """Remember who was heard lately, by rack where a rack can be named; `rows` counts readings since the start."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.rows = 0
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._named_at = dict.fromkeys(("gpu", "meter"), -NAMED_EVERY_SECS)

    def names(self) -> tuple[str, ...]:
        """Return the places and devices heard in the last minute, MOST_NAMES at most, in order."""
        oldest = self._clock() - FORGOTTEN_AFTER_SECS
        self._heard = {name: heard for name, heard in self._heard.items() if heard >= oldest}
        return tuple(sorted(self._heard)[:MOST_NAMES])

    def hear_gpus(self, block: Sequence[Message], rows: GpuRows, in_force: InForce, places: KnownPlaces) -> None:
        """Take the rows that a block of GPU messages came to; slot −1 = in no facility in its second."""
        count = int(np.count_nonzero(rows.slot < 0))
        self.rows += count
        if count and self._is_to_name("gpu"):
            frame = decode(GPU_TOPIC, block, places).frame.drop_nulls(["time", "rack", "node", "gpu"])
            slots = in_force.between(*span(frame))[-1].slots
            ids = (frame[name].to_numpy() for name in ("rack", "node", "gpu"))
            unknown = frame.filter(slots.find(*ids) < 0).unique(["rack", "_name"])
            self._note(_rack_name(places, *each) for each in unknown.select("rack", "_name").iter_rows())

    def hear_meters(self, block: Sequence[Message], log: MeterLog, in_force: InForce, places: KnownPlaces) -> None:
        """Take the rows that a block of meter messages came to, without the canary's."""
        count = int(np.count_nonzero(log.hold == NULL))
        self.rows += count
        if count and self._is_to_name("meter"):
            frame = decode(METER_TOPIC, block, places).frame.drop_nulls(["time", "meter"]).unique("meter")
            meter = frame["meter"].to_numpy().astype(np.int64)
            is_unknown = (in_force.between(*span(frame))[-1].intervals.of(meter) == 0) & (meter != canary.METER_ID)
            unknown = frame.filter(pl.Series(is_unknown)).select("meter", "_name")
            self._note(_meter_name(places, *each) for each in unknown.iter_rows())

    def _is_to_name(self, what: str) -> bool:
        now = self._clock()
        if now - self._named_at[what] < NAMED_EVERY_SECS:
            return False
        self._named_at[what] = now
        return True

    def _note(self, names: Iterable[str]) -> None:
        self._heard |= dict.fromkeys(names, self._clock())


def _rack_name(places: KnownPlaces, rack: int, sent: str | None) -> str:
    """Name a rack as it was sent, or as any version knows it."""
    return _at_rack(sent or places.path_of(SubjectKind.RACK, rack)) or f"rack {rack}"


def _meter_name(places: KnownPlaces, meter: int, sent: str | None) -> str:
    return _at_rack(sent or places.path_of(SubjectKind.METER, meter)) or f"meter {meter}"


def _at_rack(path: str | None) -> str | None:
    return path and "/".join(path.split("/")[:RACK_DEPTH])
