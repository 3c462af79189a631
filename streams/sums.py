"""Assemble the seconds of all subjects from partials: gathers and sums over static index arrays.

All sums are of integers, so they are the same in any order. Missing is kept apart from zero by masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from schemas.subject import SubjectKind
from streams.condition import Bools, Ints
from streams.members import UNKNOWN_POWER, Lists, Members

SECOND = 1_000_000
MISSING = np.iinfo(np.int64).min
"""Stands for null in the integer columns of a Block; never a value, and never summed."""


@dataclass(frozen=True)
class Block:
    """Hold whole seconds of all subjects: int64 arrays [second, subject], MISSING where null.

    `seconds` are the starts of the seconds, UTC µs, ascending. Powers in mW (`low` and `high` are the
    bounds when the silent draw nothing or all they can), energy in mJ, current in A²µs, ages in µs,
    temperature in 0.1 °C, utilization as a sum in 10⁻⁴ and a count.
    """

    seconds: Ints
    power: Ints
    low: Ints
    high: Ints
    peak: Ints
    current_square: Ints
    energy: Ints
    energy_method: Ints
    utilization_sum: Ints
    utilization_count: Ints
    temperature: Ints
    expected: Ints
    reporting: Ints
    oldest_age: Ints
    readings: Ints
    digest: Ints

    def at(self, index: int | slice) -> Block:
        """Return the seconds that an index of `seconds` chooses."""
        chosen = slice(index, index + 1) if isinstance(index, int) else index
        return Block(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def stacked(cls, blocks: Sequence[Block]) -> Block:
        """Return the blocks one after the other."""
        return cls(*(np.concatenate([getattr(each, field.name) for each in blocks]) for field in fields(cls)))


def assemble(members: Members, partials: pl.DataFrame) -> Block:
    """Return the seconds of `partials` (PARTIAL's columns and `stream`) for every subject of `members`.

    One row a (stream, second, subject_kind, subject) is expected, the newest where there were several. A
    source without a row is silent: expected, not reporting. Rows of unknown subjects belong to no sum.
    """
    sources = _Sources(members, partials)
    power, gpus, every = members.power, members.gpus, members.all
    shape = (len(sources.seconds), len(members.subjects))
    watts, expected = sources.power, sources.expected
    low = _sum(power, watts, shape)
    silent = _silent(members, sources, shape)
    current = _sum(power, sources.column("current_square_microseconds"), shape)
    current[:, ~members.has_one_source] = MISSING
    return Block(
        seconds=sources.seconds,
        power=low,
        low=np.where(low == MISSING, np.where(silent == MISSING, MISSING, 0), low),
        high=np.where(silent == MISSING, MISSING, np.where(low == MISSING, 0, low) + silent),
        peak=_sum(power, sources.peak, shape),
        current_square=current,
        energy=_sum(power, sources.column("energy_millijoules"), shape),
        energy_method=_max(power, sources.column("energy_method"), shape),
        utilization_sum=_sum(gpus, sources.column("utilization_sum_e4"), shape),
        utilization_count=_zeroed(_sum(gpus, sources.column("utilization_count"), shape)),
        temperature=_max(gpus, sources.column("temperature_max_decicelsius"), shape),
        expected=_zeroed(_sum(power, expected, shape)),
        reporting=_zeroed(_sum(power, sources.column("reporting"), shape)),
        oldest_age=_max(power, sources.column("oldest_age_microseconds"), shape),
        readings=_zeroed(_sum(every, sources.column("readings"), shape)),
        digest=_zeroed(_sum(every, sources.column("digest"), shape)),
    )


def _silent(members: Members, sources: _Sources, shape: tuple[int, int]) -> Ints:
    """Return what the silent parts of each subject may draw at most, MISSING where nobody knows.

    A silent side of a rack draws at most what the other leaves of the nameplate that they share; a feed has
    one side only, and its window may not depend on readings that its version does not count.
    """
    alone, power = sources.silent(np.zeros((1, 1), dtype=np.int64)), members.power
    shared = _sum(power, sources.silent(sources.drawn_by_owner()), shape)
    silent = np.where(members.has_all_sides, shared, _sum(power, alone, shape))
    silent[_any(power, (alone == MISSING) & (sources.expected > 0), shape)] = MISSING
    return silent


class _Sources:
    """Scatter partial rows into dense arrays [second, source]."""

    def __init__(self, members: Members, partials: pl.DataFrame) -> None:
        known = members.sources.select("source", subject_kind="kind", subject="id")
        rows = _one_row_a_source(partials.join(known, on=["subject_kind", "subject"], how="inner"))
        starts = partials["second"].cast(pl.Int64).unique().sort()
        self.rows, self.members = rows, members
        self.seconds = starts.to_numpy().copy()
        self._where = (
            np.searchsorted(self.seconds, rows["second"].cast(pl.Int64).to_numpy()),
            rows["source"].to_numpy(),
        )
        self._shape = (len(self.seconds), len(members.sources))

    def column(self, name: str) -> Ints:
        """Return a column as int64 [second, source], MISSING where null or without a row."""
        dense = np.full(self._shape, MISSING)
        dense[self._where] = self.rows[name].cast(pl.Int64).fill_null(MISSING).to_numpy()
        return dense

    @property
    def _rest(self) -> Ints:
        return self.members.sources["rest_milliwatts"].to_numpy()

    @property
    def power(self) -> Ints:
        """Return power with the modelled rest of racks that are the sum of their GPUs."""
        watts = self.column("power_milliwatts")
        return np.where(watts == MISSING, MISSING, watts + self._rest)

    @property
    def peak(self) -> Ints:
        """Return the largest readings, with the same rest."""
        watts = self.column("power_max_milliwatts")
        return np.where(watts == MISSING, MISSING, watts + self._rest)

    @property
    def expected(self) -> Ints:
        """Return the parts that should report: what the partial says, else what the registry says."""
        said = self.column("expected")
        return np.where(said == MISSING, self.members.sources["parts"].to_numpy().astype(np.int64), said)

    def silent(self, drawn: Ints) -> Ints:
        """Return what the silent parts of each source may draw at most where `drawn` of it is drawn by others.

        0 where all report, MISSING where nobody knows.
        """
        said = self.column("silent_nameplate_milliwatts")
        nameplate = self.members.sources["nameplate_milliwatts"].to_numpy()
        left = np.maximum(nameplate - drawn, 0)
        whole = np.where(nameplate == UNKNOWN_POWER, MISSING, left)
        reporting, expected = self.column("reporting"), self.expected
        all_report = (reporting != MISSING) & (reporting >= expected)
        none_reports = (reporting == MISSING) | (reporting == 0)
        return np.where(all_report, 0, np.where((said == MISSING) & none_reports, whole, said))

    def drawn_by_owner(self) -> Ints:
        """Return, per source, what the sources that share its nameplate are known to draw, itself included."""
        owners, drawn = self.members.owners, np.zeros(self._shape, dtype=np.int64)
        if not len(owners.of):
            return drawn
        known = _zeroed(_sum(owners, self.column("power_milliwatts"), (self._shape[0], int(owners.some[-1]) + 1)))
        counts = np.diff(np.append(owners.first, len(owners.of)))
        drawn[:, owners.of] = known[:, np.repeat(owners.some, counts)]
        return drawn


def _one_row_a_source(rows: pl.DataFrame) -> pl.DataFrame:
    """Join what several streams say of one source: GPUs of a rack add up, of a meter the fuller one stands."""
    key = ["second", "source"]
    if not rows.select(key).is_duplicated().any():
        return rows
    is_meter = pl.col("subject_kind") == SubjectKind.METER
    meters = rows.filter(is_meter).sort("reporting", "readings", "stream").unique(key, keep="last", maintain_order=True)
    peaks = ["temperature_max_decicelsius", "oldest_age_microseconds", "energy_method", "expected"]
    keys = {*key, "subject_kind", "subject", "stream"}
    sums = [pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name)
            for name in rows.columns if name not in keys and name not in peaks]  # fmt: skip
    racks = rows.filter(~is_meter).group_by(*key, "subject_kind", "subject", maintain_order=True)
    joined = racks.agg(pl.col("stream").first(), *sums, *(pl.col(name).max() for name in peaks))
    return pl.concat([meters, joined.select(meters.columns)], how="vertical_relaxed")


def _gathered(lists: Lists, dense: Ints) -> Ints:
    return dense[:, lists.of]


def _sum(lists: Lists, dense: Ints, shape: tuple[int, int]) -> Ints:
    """Return the sum of what is not missing in each subject's list; MISSING where nothing is there."""
    total = np.full(shape, MISSING)
    if len(lists.some):
        gathered = _gathered(lists, dense)
        is_there = gathered != MISSING
        sums = np.add.reduceat(np.where(is_there, gathered, 0), lists.first, axis=1)
        total[:, lists.some] = np.where(np.logical_or.reduceat(is_there, lists.first, axis=1), sums, MISSING)
    return total


def _max(lists: Lists, dense: Ints, shape: tuple[int, int]) -> Ints:
    greatest = np.full(shape, MISSING)
    if len(lists.some):
        greatest[:, lists.some] = np.maximum.reduceat(_gathered(lists, dense), lists.first, axis=1)
    return greatest


def _any(lists: Lists, is_so: Bools, shape: tuple[int, int]) -> Bools:
    found = np.zeros(shape, dtype=bool)
    if len(lists.some):
        found[:, lists.some] = np.logical_or.reduceat(is_so[:, lists.of], lists.first, axis=1)
    return found


def _zeroed(column: Ints) -> Ints:
    return np.where(column == MISSING, 0, column)
