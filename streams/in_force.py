"""What roll up needs of the facility, by the second: which GPUs and meters there are. Seconds here are whole ones."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import polars as pl

from schemas.timeline import EVER, FOREVER, SECOND, Timeline
from streams.gpu_slots import GpuSlots


class Devices(Protocol):
    """Know the GPUs and meters; schemas.registry.Registry does."""

    @property
    def slots(self) -> pl.DataFrame:
        """Return (rack, node, gpu, nameplate_watts, …), one row a GPU."""

    @property
    def meters(self) -> pl.DataFrame:
        """Return (meter, interval_seconds, …), one row a meter."""


class Standing(NamedTuple):
    """Hold the GPUs and meters (meter, interval_seconds) that there are in the seconds `[first, end)`."""

    first: int
    end: int
    devices: Devices
    slots: GpuSlots
    meters: pl.DataFrame


class InForce:
    """Hold what stands in each second; what has been used for a second is used for it again."""

    def __init__(self, spans: list[tuple[int, int, Devices]]) -> None:
        self._spans = spans
        self._made: dict[int, tuple[GpuSlots, pl.DataFrame]] = {}

    @classmethod
    def of(cls, timeline: Timeline) -> InForce:
        """Return what stands by a timeline."""
        return cls(_spans(timeline))

    @classmethod
    def always(cls, devices: Devices) -> InForce:
        """Return what stands where nothing ever changes."""
        return cls([(EVER // SECOND, FOREVER // SECOND, devices)])

    def follow(self, timeline: Timeline, from_second: int) -> None:
        """Know a longer timeline; the seconds before `from_second` stay as they were."""
        before = [(first, min(end, from_second), it) for first, end, it in self._spans if first < from_second]
        after = [(max(first, from_second), end, it) for first, end, it in _spans(timeline) if end > from_second]
        if before and before[-1][2] is after[0][2]:
            after[0] = (before.pop()[0], after[0][1], after[0][2])
        self._spans = before + after

    def between(self, first: int, end: int) -> list[Standing]:
        """Return what stands in the seconds `[first, end)`, one after the other; at least in `first`."""
        spans = [span for span in self._spans if span[0] < max(end, first + 1) and span[1] > first]
        return [Standing(*span, *self._of(span[2])) for span in spans]

    def _of(self, devices: Devices) -> tuple[GpuSlots, pl.DataFrame]:
        # By identity: a timeline has one registry for the same versions, and the spans keep it alive.
        if id(devices) not in self._made:
            meters = devices.meters.select("meter", "interval_seconds")
            self._made[id(devices)] = GpuSlots.of(devices.slots), meters
        return self._made[id(devices)]


def span(rows: pl.DataFrame) -> tuple[int, int]:
    """Return the seconds `[first, end)` in which admitted rows lie; of none an empty stretch."""
    first, last = rows.select(
        pl.col("time").to_physical().min().alias("first"), last=pl.col("time").to_physical().max()
    ).row(0)
    return (0, 0) if first is None or last is None else (int(first) // SECOND, int(last) // SECOND + 1)


def _spans(timeline: Timeline) -> list[tuple[int, int, Devices]]:
    return [(epoch.start // SECOND, epoch.end // SECOND, epoch.registry) for epoch in timeline.epochs]
