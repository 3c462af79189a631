"""From the watts of a second to meter readings: which meter shows what, with phases, noise and counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.subject import MeterLevel, SubjectKind
from sources.simulated.layout import Layout, index_in, sum_by
from sources.simulated.tree import POWER_FACTOR, Flow

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

METER_NOISE = 0.001
"""Standard deviation of a meter's reading, as a share of the power."""
IMBALANCE = 0.02
"""Standard deviation of one phase's share around a third, as a share of it."""
_RACK_VOLTS, _UTILITY_VOLTS = 415.0, 13_800.0


@dataclass
class Meters:
    """Hold every row that one second of meter readings has, and the counters behind them.

    A row is a meter's total or one of its phases; feeds are read by phase too.
    """

    meter: NDArray[np.int32]
    level: NDArray[np.int8]
    phase: NDArray[np.int8]
    source: Ints
    """Where in `_watts` the row's power stands."""
    share: Floats
    """Which part of that power the row shows."""
    volts: Floats
    per_amp: Floats
    """Volt-amperes per ampere: √3·U for a total over three phases, U for one phase."""
    every: Ints
    """Seconds between readings."""
    turn: Ints
    """The subject of the row, as an index into `lag_ms`: all meters of one subject are read at once."""
    lag_ms: Floats
    """How long after the whole second each subject's meters are read."""
    rack: Ints
    """The rack that the meter belongs to, −1 where it belongs to none."""
    energy: Floats
    rng: np.random.Generator
    jitter: bool

    def __len__(self) -> int:
        return len(self.meter)

    def frame(self, second: int, flow: Flow, silent_racks: Sequence[int]) -> pl.DataFrame:
        """Return the readings of one second and let every counter run on.

        **Frame** out: the columns of `schemas.meter.METER`; rows of one meter stand together.
        """
        watts = _watts(flow)[self.source] * self.share
        self.energy += watts
        read = watts * (1.0 + METER_NOISE * self.rng.standard_normal(len(self)))
        volts = self.volts * (1.0 + 0.004 * np.sin(second / 37.0) + 0.001 * self.rng.standard_normal(len(self)))
        apparent = read / POWER_FACTOR
        rows = pl.DataFrame(
            {
                "time": self._times(second),
                "meter": self.meter,
                "level": self.level,
                "phase": self.phase,
                "power_watts": np.round(read, 1),
                "apparent_va": np.round(apparent, 1),
                "current_amps": np.round(apparent / (volts * self.per_amp), 3),
                "voltage_volts": np.round(volts, 1),
                "energy_joules": np.round(self.energy),
                "interval_seconds": self.every.astype(np.float32),
                "averaging": np.ones(len(self), dtype=np.int8),
                "quality": np.zeros(len(self), dtype=np.int8),
            }
        )
        due = (second % self.every == 0) & ~np.isin(self.rack, silent_racks)
        return rows if due.all() else rows.filter(pl.Series(due))

    def _times(self, second: int) -> NDArray[np.datetime64]:
        stamps = np.full(len(self), second * 1_000_000, dtype=np.int64)
        if self.jitter:
            wobble = np.clip(3.0 * self.rng.standard_normal(len(self.lag_ms)), -9.0, 9.0)
            stamps += np.rint(self.lag_ms + wobble).astype(np.int64)[self.turn] * 1000
        return stamps.astype("datetime64[us]")


def meters_of(layout: Layout, rng: np.random.Generator, jitter: bool) -> Meters:
    """Return the rows of all meters of the registry, each with its source of power; `jitter` as of a campus."""
    meters = _sourced(layout).with_columns(
        _turn=pl.struct("subject_kind", "subject").rank("dense").cast(pl.Int64) - 1,
        _past=pl.Series(rng.uniform(1e5, 2e7, len(layout.registry.meters))),
    )
    phases = meters.with_columns(
        phase=pl.when(pl.col("level") == MeterLevel.FEED).then(pl.lit([0, 1, 2, 3])).otherwise(pl.lit([0]))
    ).explode("phase")
    phase, source = phases["phase"].to_numpy(), phases["_source"].to_numpy()
    share = phases["_share"].to_numpy() * _phase_shares(phases["meter"].to_numpy(), phase, rng)
    volts = phases["_volts"].to_numpy()
    return Meters(
        meter=phases["meter"].to_numpy().astype(np.int32),
        level=phases["level"].to_numpy().astype(np.int8),
        phase=phase.astype(np.int8),
        source=source,
        share=share,
        volts=np.where(phase == 0, volts, volts / np.sqrt(3)),
        per_amp=np.where(phase == 0, np.sqrt(3), 1.0),
        every=np.maximum(1, np.rint(phases["interval_seconds"].fill_null(1.0).to_numpy())).astype(np.int64),
        turn=phases["_turn"].to_numpy(),
        lag_ms=rng.uniform(20.0, 160.0, meters["_turn"].n_unique()),
        rack=np.where(phases["level"] == MeterLevel.RACK_INPUT, phases["_rack"].to_numpy(), -1),
        energy=np.round(phases["_past"].to_numpy() * share * 30_000.0),
        rng=rng,
        jitter=jitter,
    )


def _watts(flow: Flow) -> Floats:
    """Return all that a meter may show, end to end; `_starts` says where each part begins."""
    return np.concatenate([flow.lines, flow.racks, flow.nodes, flow.tree, flow.sites, flow.cooling, [0.0]])


def _starts(layout: Layout) -> dict[str, int]:
    lengths = {
        "lines": len(layout.lines.rack),
        "racks": len(layout.racks.id),
        "nodes": len(layout.nodes.id),
        "tree": len(layout.tree.id),
        "sites": len(layout.sites),
        "cooling": len(layout.sites),
        "nothing": 1,
    }
    ends = np.cumsum(list(lengths.values()))
    return {name: int(end - length) for (name, length), end in zip(lengths.items(), ends, strict=True)}


def _sourced(layout: Layout) -> pl.DataFrame:
    """Return the registry's meters with `_source`, `_share`, `_volts` and `_rack`.

    Several meters of one source share it evenly, those of halls a site's cooling too; a rack's inputs
    each show their own line.
    """
    meters = layout.registry.meters.sort("meter")
    source, volts = _sources(layout, meters), _voltages(layout, meters)
    subject = np.where(meters["subject_kind"] == SubjectKind.RACK, meters["subject"].to_numpy(), -1)
    return meters.with_columns(
        _source=pl.Series(source), _volts=pl.Series(volts), _rack=pl.Series(index_in(layout.racks.id, subject))
    ).with_columns(_share=1.0 / pl.len().over("_source", "level", "subject_kind"))


def _sources(layout: Layout, meters: pl.DataFrame) -> Ints:
    starts = _starts(layout)
    level, kind = meters["level"].to_numpy(), meters["subject_kind"].to_numpy()
    subject = meters["subject"].to_numpy()
    source = np.full(len(meters), starts["nothing"], dtype=np.int64)

    def show(here: NDArray[np.bool_], part: str, index: Ints) -> None:
        source[here] = np.where(index >= 0, starts[part] + index, source[here])

    for place in (SubjectKind.FEED, SubjectKind.PANEL, SubjectKind.UPS_GROUP, SubjectKind.UTILITY):
        here, elements = kind == place, np.flatnonzero(layout.tree.kind == place)
        found = index_in(layout.tree.id[elements], subject[here])
        if len(elements):
            show(here, "tree", np.where(found >= 0, elements[found], -1))
    show(kind == SubjectKind.RACK, "racks", index_in(layout.racks.id, subject[kind == SubjectKind.RACK]))
    show(kind == SubjectKind.NODE, "nodes", _node_index(layout, subject[kind == SubjectKind.NODE]))
    show(kind == SubjectKind.SITE, "sites", index_in(layout.sites, subject[kind == SubjectKind.SITE]))
    cooling = level == MeterLevel.COOLING
    show(cooling, "cooling", index_in(layout.sites, _site_of(layout, kind[cooling], subject[cooling])))
    inputs = level == MeterLevel.RACK_INPUT
    show(inputs, "lines", _line_index(layout, meters.filter(pl.Series(inputs))))
    source[level == MeterLevel.GENERATOR] = starts["nothing"]
    return source


def _site_of(layout: Layout, kind: Ints, subject: Ints) -> Ints:
    """Return the site of each site or hall."""
    halls = layout.registry.structure.filter(pl.col("kind") == SubjectKind.HALL)
    site = dict(halls.select("id", "site").iter_rows())
    return np.where(kind == SubjectKind.HALL, [site.get(each, -1) for each in subject], subject)


def _node_index(layout: Layout, nodes: Ints) -> Ints:
    order = np.argsort(layout.nodes.id)
    found = index_in(layout.nodes.id[order], nodes)
    return np.where(found >= 0, order[found], -1) if len(order) else found


def _line_index(layout: Layout, inputs: pl.DataFrame) -> Ints:
    """Return the line that each rack input shows: that of its feed, else the rack's lines in turn."""
    lines = pl.DataFrame(
        {
            "subject": layout.racks.id[layout.lines.rack],
            "feed": np.append(layout.tree.id, -1)[layout.lines.feed],
        },
        schema={"subject": pl.Int32, "feed": pl.Int32},
    ).with_row_index("line")
    named = inputs.join(lines, on=["subject", "feed"], how="left", maintain_order="left")["line"]
    turn = pl.int_range(pl.len()).over("subject").alias("turn")
    in_turn = inputs.with_columns(turn).join(
        lines.with_columns(turn), on=["subject", "turn"], how="left", maintain_order="left"
    )["line"]
    return named.fill_null(in_turn).cast(pl.Int64).fill_null(-1).to_numpy()


def _voltages(layout: Layout, meters: pl.DataFrame) -> Floats:
    volts = layout.registry.feeds.select(fed="feed", volts="voltage_volts")
    feed = pl.when(pl.col("subject_kind") == SubjectKind.FEED).then("subject").otherwise("feed")
    found = meters.with_columns(fed=feed).join(volts, on="fed", how="left", maintain_order="left")["volts"]
    known = found.fill_null(_RACK_VOLTS).to_numpy()
    return np.where(meters["level"] == MeterLevel.UTILITY, _UTILITY_VOLTS, known)


def _phase_shares(meter: Ints, phase: Ints, rng: np.random.Generator) -> Floats:
    """Return 1 for totals and for the phases of a meter three shares near a third that add up to 1."""
    weight = np.where(phase == 0, 0.0, 1.0 + IMBALANCE * rng.standard_normal(len(meter)))
    total = sum_by(meter, weight, int(meter.max(initial=0)) + 1)[meter]
    return np.where(phase == 0, 1.0, weight / np.maximum(total, 1e-9))
