"""Gauges: what reading rules look at, one metric of one subject, and the inputs that make its value.

An input is a meter and phase. Power is the sum of the inputs' phase 0, amps are the worst of all phases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from schemas import canary
from streams.condition import Ints
from streams.lists import begins

if TYPE_CHECKING:
    from schemas.registry import Registry

POWER, AMPS = 0, 1
METRICS = {"power_watts": POWER, "current_amps": AMPS}
HELD_INTERVALS = 3
SECOND = 1_000_000
KEYS = ["subject_kind", "subject", "metric", "meter", "phase"]


class Some(NamedTuple):
    """Hold some gauges, ascending, and their inputs, side by side: what is reckoned of them costs no look at the rest.

    `first`: where the inputs of each begin in `inputs` · `nth`: by input, the place of its gauge in `gauge`.
    """

    gauge: Ints
    inputs: Ints
    first: Ints
    nth: Ints

    def least(self, column: Ints) -> Ints:
        """Return, per gauge, the least of a column of all inputs."""
        of_some = column[self.inputs]
        least: Ints = np.minimum.reduceat(of_some, self.first) if len(of_some) else of_some
        return least


@dataclass(frozen=True)
class Gauges:
    """Hold gauges and their inputs as columns; the inputs of a gauge lie side by side.

    `table` has one row an input: gauge, subject_kind, subject, metric (POWER or AMPS), meter, phase and
    `hold` in µs, for which a reading stands when it does not say its own interval.
    """

    table: pl.DataFrame

    @cached_property
    def gauge(self) -> Ints:
        """Return the gauge of each input."""
        gauge: Ints = self.table["gauge"].to_numpy()
        return gauge

    @cached_property
    def first_input(self) -> Ints:
        """Return the first input of each gauge."""
        first: Ints = np.flatnonzero(begins(self.gauge))
        return first

    @cached_property
    def inputs(self) -> Ints:
        """Return the number of inputs of each gauge."""
        inputs: Ints = np.diff(np.append(self.first_input, len(self.gauge)))
        return inputs

    def among(self, gauge: Ints) -> tuple[Some, Ints]:
        """Return the gauges that there are in a list, in any order, and the place of each of the list among them."""
        is_there = np.zeros(len(self.first_input), dtype=bool)
        is_there[gauge] = True
        return self.some(np.flatnonzero(is_there)), (np.cumsum(is_there) - 1)[gauge]

    def some(self, gauge: Ints) -> Some:
        """Return the gauges of an ascending list."""
        counts = self.inputs[gauge]
        first = np.cumsum(counts) - counts
        return Some(gauge, spread(self.first_input[gauge], counts), first, np.repeat(np.arange(len(gauge)), counts))

    @cached_property
    def metric(self) -> Ints:
        """Return the metric of each gauge."""
        metric: Ints = self.table["metric"].to_numpy()[self.first_input]
        return metric

    @cached_property
    def hold(self) -> Ints:
        """Return the hold of each input where its readings do not say their interval, µs."""
        hold: Ints = self.table["hold"].to_numpy()
        return hold

    @cached_property
    def subjects(self) -> pl.DataFrame:
        """Return one row a gauge: gauge, subject_kind, subject, metric."""
        return self.table.unique("gauge", keep="first").sort("gauge").select("gauge", *KEYS[:3])

    @cached_property
    def _by_meter(self) -> tuple[Ints, Ints]:
        key = _key(self.table["meter"].to_numpy(), self.table["phase"].to_numpy(), self.table["metric"].to_numpy())
        order = np.argsort(key, kind="stable")
        return key[order], order

    def inputs_of(self, meter: Ints, phase: Ints, metric: int) -> tuple[Ints, Ints]:
        """Return (index of the reading, input) for each input that a reading of (meter, phase) feeds."""
        keys, inputs = self._by_meter
        wanted = _key(meter, phase, np.full(len(meter), metric))
        first, end = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
        reading = np.repeat(np.arange(len(meter)), end - first)
        return reading, inputs[spread(first, end - first)]


def gauges_of(rules: pl.DataFrame, registry: Registry) -> Gauges:
    """Return the gauges that the resolved `rules` (schemas.rules.RESOLVED) with input "reading" need."""
    subjects = (
        rules.filter(pl.col("input") == "reading")
        .select("subject_kind", "subject", pl.col("metric").replace_strict(METRICS, return_dtype=pl.Int64))
        .unique()
    )
    phases = pl.DataFrame({"metric": [POWER, AMPS, AMPS, AMPS, AMPS], "phase": [0, 0, 1, 2, 3]})
    table = (
        subjects.join(pl.concat([registry.sums, canary.INPUTS]), on=["subject_kind", "subject"])
        .join(registry.meters.select("meter", "interval_seconds"), on="meter", how="left")
        .join(phases, on="metric")
        .sort(KEYS)
    )
    hold = (pl.col("interval_seconds").fill_null(1.0) * HELD_INTERVALS * SECOND).round().cast(pl.Int64)
    gauge = (pl.struct(KEYS[:3]).rle_id()).cast(pl.Int64).alias("gauge")
    whole = [pl.col(name).cast(pl.Int64) for name in KEYS]
    return Gauges(table.select(gauge, *whole, hold.alias("hold")))


def spread(first: Ints, counts: Ints) -> Ints:
    """Return the ranges `first, first + 1, … first + count − 1` of all rows, one after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    indices: Ints = np.arange(total) + np.repeat(first - (ends - counts), counts)
    return indices


def running_max(group: Ints, values: Ints, start: Ints) -> Ints:
    """Return the largest of `start` and of the earlier values of the same group, the own value left out.

    `group` is ascending; `start` is given a row, the same for all rows of a group.
    """
    is_first = begins(group)
    if is_first.all():
        return start
    # Ranks instead of times: group and rank fit into one integer, whatever the times are.
    by_rank, ranks = np.unique(values, return_inverse=True)
    base = (np.cumsum(is_first) - 1) * len(values)
    highest = np.maximum.accumulate(base + ranks) - base
    before = start.copy()
    before[1:] = by_rank[highest[:-1]]
    return np.where(is_first, start, np.maximum(before, start))


def _key(meter: Ints, phase: Ints, metric: Ints) -> Ints:
    return (meter.astype(np.int64) * 4 + phase) * 2 + metric
