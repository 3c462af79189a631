"""Minutes of GPUs and nodes, made of pieces. Pure: gathers and sums over static index arrays.

Of a minute of a GPU: power is the mean over the seconds that reported; its bounds are means over all sixty,
a silent second drawing nothing or the nameplate; `reporting` counts what reported in every second, as the
least over the seconds does elsewhere. A node is the sum of its GPUs, an estimate, or its own meter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from schemas.metering import MEASURED
from schemas.nameplates import ABSURD_FACTOR
from schemas.rejection import ADMISSION_VERSION
from schemas.subject import SubjectKind, gpu_subject
from streams.condition import Bools, Ints
from streams.lists import MISSING, zeroed
from streams.members import ESTIMATE, UNKNOWN_POWER, Members
from streams.meter_seconds import COUNTER, COUNTER_STEPS, INTEGRAL
from streams.minutes import MINUTE
from streams.pieces import NOTHING
from streams.pieces_beside import Rows
from streams.sums import SECOND, Block

if TYPE_CHECKING:
    from schemas.registry import Registry

SECONDS = MINUTE // SECOND

PieceRows = list[tuple[int, Rows]]
"""The pieces of a minute, (start, a row a GPU), the oldest first."""


@dataclass(frozen=True)
class Devices:
    """Hold the nodes of a facility that have GPUs or a meter, and their GPUs; ordered by (site, rack, node, gpu).

    `nodes`, `gpus`: frames subject_kind i8, subject i32, site i32, basis i8, facility i32. `gpu_first` is, by
    node, its first GPU, with the number of all GPUs at the end. `meter` is, by node, the place of its meter
    among the subjects of Members, −1 = none. `nameplate` in mW by GPU, UNKNOWN_POWER where not known.
    """

    nodes: pl.DataFrame
    gpus: pl.DataFrame
    gpu_first: Ints
    meter: Ints
    nameplate: Ints

    @cached_property
    def gpu_subject(self) -> Ints:
        """Return the subject of each GPU."""
        return self.gpus["subject"].to_numpy().astype(np.int64)

    @cached_property
    def node_of_gpu(self) -> Ints:
        """Return the place of each GPU's node."""
        return np.repeat(np.arange(len(self.nodes)), np.diff(self.gpu_first))

    def pick(self, nodes: Ints) -> Devices:
        """Return some nodes with all of their GPUs; `nodes` are places, ascending."""
        counts = np.diff(self.gpu_first)[nodes]
        first = np.append(0, np.cumsum(counts))
        gpus = np.repeat(self.gpu_first[nodes] - first[:-1], counts) + np.arange(first[-1])
        return Devices(self.nodes[nodes], self.gpus[gpus], first, self.meter[nodes], self.nameplate[gpus])

    def stretches(self, rows: int) -> Iterator[Ints]:
        """Yield the places of nodes of one site after the other, by as many as make at most `rows` rows."""
        size = np.arange(len(self.nodes) + 1) + self.gpu_first
        changes = np.flatnonzero(np.diff(self.nodes["site"].to_numpy())) + 1
        for first, high in pairwise([0, *changes.tolist(), len(self.nodes)]):
            low = first
            while low < high:
                end = int(np.searchsorted(size, size[low] + rows, side="right")) - 1
                end = max(low + 1, min(high, end))
                yield np.arange(low, end)
                low = end


def devices_of(registry: Registry, members: Members) -> Devices:
    """Return the devices of a registry."""
    metered = members.subjects.with_row_index("meter").filter(pl.col("subject_kind") == SubjectKind.NODE)
    metered = metered.select(pl.col("meter").cast(pl.Int64), node="subject", metered_basis="basis")
    versions = registry.sites.select("site", facility="version")
    nodes = (
        registry.nodes.join(metered, on="node", how="left")
        .join(versions, on="site", how="left")
        .filter((pl.col("gpus") > 0) | pl.col("meter").is_not_null())
        .sort("site", "rack", "node")
    )
    gpus = nodes.with_columns(gpu=pl.int_ranges("gpus", dtype=pl.Int32)).explode("gpu").filter(pl.col("gpu") >= 0)
    nameplate = (gpus["nameplate_watts"].cast(pl.Float64) * 1000).round().cast(pl.Int64).fill_null(UNKNOWN_POWER)
    subject = gpus.select(gpu_subject(pl.col("node"), pl.col("gpu"))).to_series()
    return Devices(
        nodes=_subjects(SubjectKind.NODE, nodes, nodes["node"], nodes["metered_basis"].fill_null(ESTIMATE)),
        gpus=_subjects(SubjectKind.GPU, gpus, subject, pl.repeat(MEASURED, len(gpus), eager=True)),
        gpu_first=np.append(0, np.cumsum(nodes["gpus"].to_numpy())).astype(np.int64),
        meter=nodes["meter"].fill_null(-1).to_numpy(),
        nameplate=nameplate.to_numpy(),
    )


def _subjects(kind: SubjectKind, of: pl.DataFrame, subject: pl.Series, basis: pl.Series) -> pl.DataFrame:
    return of.select(
        pl.lit(kind, pl.Int8).alias("subject_kind"), subject.cast(pl.Int32).alias("subject"), "site",
        basis.cast(pl.Int8).alias("basis"), "facility",
    )  # fmt: skip


class Minute(NamedTuple):
    """Name the minute of some GPUs: its start (µs), its pieces, and those of the minute before for the counters."""

    start: int
    pieces: PieceRows
    before: PieceRows


def gpu_minutes(minute: Minute, nameplate: Ints) -> Block:
    """Return one minute of GPUs: arrays [1, GPU]."""
    total = _Totals.of(minute.pieces, len(nameplate))
    power, silent = _ratio(total.power, total.power_seconds), SECONDS - total.power_seconds
    energy, method = _energy(minute, total, nameplate)
    unknown = (silent > 0) & (nameplate == UNKNOWN_POWER)
    nothing = np.full(len(nameplate), MISSING)
    return _block(
        minute.start,
        power=power,
        low=_ratio(total.power, np.full(len(nameplate), SECONDS)),
        high=np.where(unknown, MISSING, _ratio(total.power + silent * nameplate, np.full(len(nameplate), SECONDS))),
        peak=np.where(total.power_seconds > 0, total.power_max, MISSING),
        current_square=nothing,
        energy=energy,
        energy_method=method,
        utilization_sum=np.where(total.utilization_seconds > 0, total.utilization, MISSING),
        utilization_count=total.utilization_seconds,
        temperature=np.where(total.temperature == NOTHING, MISSING, total.temperature),
        expected=np.ones(len(nameplate), np.int64),
        reporting=(silent == 0).astype(np.int64),
        oldest_age=total.age,
        readings=total.readings,
        digest=total.digest,
    )


def node_minutes(gpus: Block, devices: Devices, meters: Block) -> Block:
    """Return one minute of nodes from that of their GPUs, and where a node has a meter from the meter's.

    `meters` is the minute of the subjects of Members; utilization and temperature are the GPUs' always.
    """
    parts = _Parts(devices.gpu_first)
    summed = {name: parts.total(getattr(gpus, name)[0]) for name in _SUMS}
    greatest = {name: parts.greatest(getattr(gpus, name)[0]) for name in ("energy_method", "temperature", "oldest_age")}
    high = np.where(parts.greatest((gpus.high[0] == MISSING).astype(np.int64)) > 0, MISSING, summed["high"])
    of_gpus = {name: zeroed(column) if name in _COUNTS else column for name, column in summed.items()}
    nodes = _block(int(gpus.seconds[0]), **of_gpus | greatest | {"high": high})
    is_metered = devices.meter >= 0
    for name in _METERED:
        getattr(nodes, name)[0, is_metered] = getattr(meters, name)[0, devices.meter[is_metered]]
    for name in ("readings", "digest"):
        getattr(nodes, name)[0, is_metered] += getattr(meters, name)[0, devices.meter[is_metered]]
    return nodes


_COUNTS = ("utilization_count", "expected", "reporting", "readings", "digest")
_SUMS = ("power", "low", "high", "peak", "current_square", "energy", "utilization_sum", *_COUNTS)
_METERED = (
    "power", "low", "high", "peak", "current_square", "energy", "energy_method", "expected", "reporting", "oldest_age",
)  # fmt: skip


@dataclass(frozen=True)
class _Totals:
    """Sum the pieces of a minute by GPU: powers in mW, ages in µs."""

    power: Ints
    power_seconds: Ints
    power_max: Ints
    utilization: Ints
    utilization_seconds: Ints
    temperature: Ints
    age: Ints
    readings: Ints
    digest: Ints

    @classmethod
    def of(cls, pieces: PieceRows, size: int) -> _Totals:
        def total(name: str) -> Ints:
            out = np.zeros(size, np.int64)
            for _, rows in pieces:
                out += rows[name]
            return out

        def greatest(name: str) -> Ints:
            came = (np.where(rows["readings"] > 0, rows[name], NOTHING) for _, rows in pieces)
            greatest: Ints = np.max([np.full(size, NOTHING, np.int64), *came], axis=0)
            return greatest

        return cls(
            power=total("power_sum_deciwatts") * 100,
            power_seconds=total("power_seconds"),
            power_max=greatest("power_max_deciwatts") * 100,
            utilization=total("utilization_sum_e4"),
            utilization_seconds=total("utilization_seconds"),
            temperature=greatest("temperature_max_decicelsius"),
            age=_age(pieces, size),
            readings=total("readings"),
            digest=total("digest"),
        )


def _age(pieces: PieceRows, size: int) -> Ints:
    """Return the age at the minute's end of the last reading, MISSING where nothing came."""
    newest = np.full(size, MISSING)
    for start, rows in pieces:
        end = start // MINUTE * MINUTE + MINUTE
        newest = np.where(rows["readings"] > 0, end - start - rows["last_microseconds"].astype(np.int64), newest)
    return newest


def _energy(minute: Minute, total: _Totals, nameplate: Ints) -> tuple[Ints, Ints]:
    """Return energy in mJ and its method: the counter's difference where it is fine, else Σ power · 1 s.

    The difference is from the last value of the minute before to the last one in this minute, so that the
    energies of consecutive minutes join end to end. The greatest common divisor of the two stands for the
    counter's step (docs/decisions/0015). A counter that went down, or gained more than ABSURD_FACTOR nameplates
    can have drawn, is another device's and not used.
    """
    first, begun, _ = _counter(minute.before, len(nameplate))
    last, ended, fell = _counter(minute.pieces, len(nameplate), first)
    gained = last - first
    there = (first != NOTHING) & (ended != MISSING)
    fine = there & ~fell & (gained > 0) & (gained >= COUNTER_STEPS * np.gcd(first, last))
    most = ABSURD_FACTOR * nameplate // 1000 * (ended - begun + 1)
    fine &= (nameplate == UNKNOWN_POWER) | (gained <= most)
    has_power = total.power_seconds > 0
    integral = np.where(has_power, total.power, MISSING)
    method = np.where(fine, COUNTER, np.where(has_power, INTEGRAL, MISSING))
    return np.where(fine, gained * 1000, integral), method


def _counter(pieces: PieceRows, size: int, before: Ints | None = None) -> tuple[Ints, Ints, Bools]:
    """Return the last counter value (J), the second in which it was read (MISSING = none), and whether it went down."""
    value = np.full(size, NOTHING, np.int64) if before is None else before
    read, fell = np.full(size, MISSING), np.zeros(size, np.bool_)
    for start, rows in pieces:
        there = rows["energy_first_joules"] != NOTHING
        there &= rows["readings"] > 0
        fell |= there & ((rows["energy_fell"] > 0) | (rows["energy_first_joules"] < value))
        value = np.where(there, rows["energy_last_joules"], value)
        read = np.where(there, start // SECOND + rows["energy_last_second"].astype(np.int64), read)
    return value, read, fell


class _Parts:
    """Sum and compare columns of GPUs by node; a node without GPUs has nothing."""

    def __init__(self, first: Ints) -> None:
        self._has_any = np.diff(first) > 0
        self._starts = first[:-1][self._has_any]

    def total(self, column: Ints) -> Ints:
        """Return Σ of what is not missing, MISSING where nothing is there."""
        is_there = column != MISSING
        sums = self._reduced(np.add, np.where(is_there, column, 0))
        return np.where(self._reduced(np.add, is_there.astype(np.int64)) > 0, sums, MISSING)

    def greatest(self, column: Ints) -> Ints:
        """Return the greatest, MISSING where nothing is there."""
        return np.where(self._has_any, self._reduced(np.maximum, column), MISSING)

    def _reduced(self, reduce: np.ufunc, column: Ints) -> Ints:
        out = np.zeros(len(self._has_any), np.int64)
        if len(self._starts):
            out[self._has_any] = reduce.reduceat(column, self._starts)
        return out


def _ratio(total: Ints, count: Ints) -> Ints:
    """Return total ÷ count rounded to a whole (half to even), MISSING where nothing was counted."""
    return np.where(count > 0, np.rint(total / np.maximum(count, 1)).astype(np.int64), MISSING)


def _block(start: int, **columns: Ints) -> Block:
    columns["admission"] = np.full_like(columns["readings"], ADMISSION_VERSION)
    return Block(seconds=np.array([start]), **{name: column[None, :].copy() for name, column in columns.items()})
