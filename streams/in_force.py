"""What roll up needs of the facility, by the second: which GPUs and meters there are. Seconds here are whole ones."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.nameplates import ABSURD_FACTOR
from schemas.timeline import EVER, FOREVER, SECOND, Timeline
from streams.gpu_slots import GpuSlots


class Devices(Protocol):
    """Know the GPUs and meters; schemas.registry.Registry does."""

    @property
    def slots(self) -> pl.DataFrame:
        """Return (rack, node, gpu, nameplate_watts, …), one row a GPU."""

    @property
    def meters(self) -> pl.DataFrame:
        """Return (meter, interval_seconds, subject_kind, subject, …), one row a meter."""

    @property
    def limits(self) -> pl.DataFrame:
        """Return (kind, id, limit, watts)."""


DEFAULT_INTERVAL_SECONDS = 1.0


class Intervals(NamedTuple):
    """Hold the meters that there are, ascending, and the interval between the readings of each, s."""

    meter: NDArray[np.int64]
    seconds: NDArray[np.float64]

    @classmethod
    def of_meters(cls, meters: pl.DataFrame) -> Intervals:
        """Return the intervals of a frame (meter, interval_seconds, …); null = one second."""
        ordered = meters.sort("meter")
        seconds = ordered["interval_seconds"].cast(pl.Float64).fill_null(DEFAULT_INTERVAL_SECONDS)
        return cls(ordered["meter"].to_numpy().astype(np.int64), seconds.to_numpy())

    def of(self, meter: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the interval of each of some meters; 0 of those that there are not."""
        if not len(self.meter):
            return np.zeros(len(meter))
        at = np.minimum(np.searchsorted(self.meter, meter), len(self.meter) - 1)
        return np.where(self.meter[at] == meter, self.seconds[at], 0.0)


class Gains(NamedTuple):
    """Hold the meters whose nameplate or rating is known, ascending, and what each counter may gain in a second, mJ."""

    meter: NDArray[np.int64]
    most: NDArray[np.int64]

    @classmethod
    def of_devices(cls, devices: Devices) -> Gains:
        """Return ABSURD_FACTOR × the nameplate, else the rating, of what each meter measures."""
        limits = devices.limits.filter(pl.col("limit").is_in(["nameplate", "rated"])).sort("limit")
        known = limits.unique(["kind", "id"], keep="first", maintain_order=True)  # "nameplate" sorts before "rated"
        key = ["subject_kind", "subject"]
        meters = devices.meters.join(known.select("watts", subject_kind="kind", subject="id"), on=key).sort("meter")
        most = (meters["watts"] * ABSURD_FACTOR * 1000).round().cast(pl.Int64)
        return cls(meters["meter"].to_numpy().astype(np.int64), most.to_numpy())

    def of(self, meter: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what each of some meters may gain; of those that are not known, anything."""
        at = np.minimum(np.searchsorted(self.meter, meter), max(0, len(self.meter) - 1))
        most = np.full(len(meter), np.iinfo(np.int64).max)
        known = self.meter[at] == meter if len(self.meter) else np.zeros(len(meter), np.bool_)
        most[known] = self.most[at[known]]
        return most


class Standing(NamedTuple):
    """Hold the GPUs and meters that there are in the seconds `[first, end)`."""

    first: int
    end: int
    devices: Devices
    slots: GpuSlots
    intervals: Intervals
    gains: Gains


class InForce:
    """Hold what stands in each second; what has been used for a second is used for it again."""

    def __init__(self, spans: list[tuple[int, int, Devices]]) -> None:
        self._spans = spans
        self._made: dict[int, tuple[GpuSlots, Intervals, Gains]] = {}

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

    def _of(self, devices: Devices) -> tuple[GpuSlots, Intervals, Gains]:
        # By identity: a timeline has one registry for the same versions, and the spans keep it alive.
        if id(devices) not in self._made:
            slots, intervals = GpuSlots.of(devices.slots), Intervals.of_meters(devices.meters)
            self._made[id(devices)] = slots, intervals, Gains.of_devices(devices)
        return self._made[id(devices)]


def span(rows: pl.DataFrame) -> tuple[int, int]:
    """Return the seconds `[first, end)` in which admitted rows lie; of none an empty stretch."""
    first, last = rows.select(
        pl.col("time").to_physical().min().alias("first"), last=pl.col("time").to_physical().max()
    ).row(0)
    return (0, 0) if first is None or last is None else (int(first) // SECOND, int(last) // SECOND + 1)


def _spans(timeline: Timeline) -> list[tuple[int, int, Devices]]:
    return [(epoch.start // SECOND, epoch.end // SECOND, epoch.registry) for epoch in timeline.epochs]
