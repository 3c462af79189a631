"""Assemble the seconds of all subjects from partials: gathers and sums over static index arrays.

All sums are of integers, so they are the same in any order. Missing is kept apart from zero by masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from schemas.partial import PARTIAL
from schemas.rejection import ADMISSION_VERSION
from schemas.subject import SubjectKind
from streams.bounds import BOUNDLESS, FRESH_MICROSECONDS, Known, extra, left_of_nameplates
from streams.condition import Ints
from streams.filled import filled
from streams.lists import MISSING, zeroed
from streams.members import UNKNOWN_POWER, Members

__all__ = ["MISSING", "SECOND", "Block", "Sources", "assemble", "silence", "subjects_of"]

SECOND = 1_000_000


@dataclass(frozen=True)
class Block:
    """Hold whole seconds of all subjects: int64 arrays [second, subject], MISSING where null.

    `seconds` are the starts of the seconds, UTC µs, ascending. Powers in mW (`low` and `high` are the
    bounds when the silent draw nothing or all they can), energy in mJ, current in A²µs, ages in µs,
    temperature in 0.1 °C, utilization as a sum in 10⁻⁴ and a count; `admission` is the oldest version of admission
    that any of it was made by.
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
    admission: Ints

    def at(self, index: int | slice) -> Block:
        """Return the seconds that an index of `seconds` chooses."""
        chosen = slice(index, index + 1) if isinstance(index, int) else index
        return Block(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def stacked(cls, blocks: Sequence[Block]) -> Block:
        """Return the blocks one after the other."""
        return cls(*(np.concatenate([getattr(each, field.name) for each in blocks]) for field in fields(cls)))


def assemble(members: Members, partials: pl.DataFrame) -> Block:
    """Return the seconds of `partials` for every subject of `members`.

    `partials` has PARTIAL's columns and `stream`, and `admission` (version, i64) where it is not ours.
    One row a (stream, second, subject_kind, subject) is expected, the newest where there were several. A
    source without a row is silent: expected, not reporting. Rows of unknown subjects belong to no sum.
    """
    return subjects_of(Sources(members, partials))


def silence(members: Members) -> Block:
    """Return one second, the first of 1970, in which no source said anything."""
    return subjects_of(Sources(members, PARTIAL.empty(), seconds=np.zeros(1, dtype=np.int64)))


def subjects_of(sources: Sources) -> Block:
    """Return the seconds of every subject made of what the sources said (see `assemble`)."""
    members = sources.members
    power, gpus, counted = members.power, members.gpus, members.counted
    width = len(members.subjects)
    watts = power.sum(sources.power, width)
    low, high = _bounds(members, sources, watts)
    return Block(
        seconds=sources.seconds,
        power=watts,
        low=low,
        high=high,
        peak=power.sum(sources.peak, width),
        current_square=_current_square(sources),
        energy=power.sum(sources.energy, width),
        energy_method=power.greatest(sources.column("energy_method"), width),
        utilization_sum=gpus.sum(sources.column("utilization_sum_e4"), width),
        utilization_count=zeroed(gpus.sum(sources.column("utilization_count"), width)),
        temperature=gpus.greatest(sources.column("temperature_max_decicelsius"), width),
        expected=zeroed(power.sum(sources.expected, width)),
        reporting=zeroed(power.sum(sources.column("reporting"), width)),
        oldest_age=power.greatest(sources.column("oldest_age_microseconds"), width),
        readings=counted.sum(zeroed(sources.column("readings"))),
        digest=counted.sum(zeroed(sources.column("digest"))),
        admission=sources.admission,
    )


def _current_square(sources: Sources) -> Ints:
    """Return the currents' squares: those of several sources make no sum."""
    members = sources.members
    current = members.power.sum(sources.column("current_square_microseconds"), len(members.subjects))
    current[:, ~members.has_one_source] = MISSING
    return current


def _bounds(members: Members, sources: Sources, power: Ints) -> tuple[Ints, Ints]:
    """Return the bounds of each subject, MISSING where nobody knows."""
    least, most = extra(members, sources.known())
    is_one_of_watts = np.zeros(power.shape[1], dtype=bool)
    is_one_of_watts[members.power.some] = True
    has_high = is_one_of_watts & (most < BOUNDLESS)
    high = np.where(has_high, zeroed(power) + most, MISSING)
    low = np.where(has_high | (power != MISSING) | (least > 0), zeroed(power) + least, MISSING)
    return low, high


class Sources:
    """Scatter rows of partials, as `assemble` wants them, into dense arrays [second, source].

    `seconds` (UTC µs, ascending) are those of the rows where they are not given.
    """

    def __init__(self, members: Members, partials: pl.DataFrame, seconds: Ints | None = None) -> None:
        if "admission" not in partials.columns:
            partials = partials.with_columns(admission=pl.lit(ADMISSION_VERSION, pl.Int64))
        known = members.sources.select("source", subject_kind="kind", subject="id")
        heard = partials.join(known, on=["subject_kind", "subject"], how="inner")
        self.contradicted = _contradicted(heard)
        rows = _one_row_a_source(heard)
        starts = partials["second"].cast(pl.Int64).unique().sort()
        self.rows, self.members = rows, members
        self.seconds = starts.to_numpy().copy() if seconds is None else seconds
        self._where = (
            np.searchsorted(self.seconds, rows["second"].cast(pl.Int64).to_numpy()),
            rows["source"].to_numpy(),
        )
        self._shape = (len(self.seconds), len(members.sources))
        self._columns: dict[str, Ints] = {}

    def column(self, name: str) -> Ints:
        """Return a column as int64 [second, source], MISSING where null or without a row; not to be written to."""
        if name not in self._columns:
            dense = np.full(self._shape, MISSING)
            dense[self._where] = filled(self.rows[name].cast(pl.Int64), MISSING)
            self._columns[name] = dense
        return self._columns[name]

    @property
    def admission(self) -> Ints:
        """Return, as [second, subject], the oldest version of admission that any part of its site was made by."""
        said, by_site = self.column("admission"), self.members.sources_by_site
        # Negated, so that the oldest is the greatest: nothing is the least of all.
        newest_first = by_site.greatest(np.where(said == MISSING, MISSING, -said), len(self.members.subjects))
        oldest: Ints = np.where(newest_first == MISSING, MISSING, -newest_first)
        return oldest[:, self.members.first_of_site]

    @property
    def _rest(self) -> Ints:
        return self.members.sources["rest_milliwatts"].to_numpy()

    def _with_rest(self, name: str) -> Ints:
        said = self.column(name)
        return np.where(said == MISSING, MISSING, said + self._rest)

    @property
    def power(self) -> Ints:
        """Return power with the modelled rest of racks that are the sum of their GPUs."""
        return self._with_rest("power_milliwatts")

    @property
    def energy(self) -> Ints:
        """Return energy with that of the same rest: mW over a second are mJ."""
        return self._with_rest("energy_millijoules")

    @property
    def whole_power(self) -> Ints:
        """Return the power of the sources all of whose parts report, MISSING of the others."""
        reporting = zeroed(self.column("reporting"))
        return np.where(reporting >= self.expected, self.column("power_milliwatts"), MISSING)

    @property
    def peak(self) -> Ints:
        """Return the largest readings, with the same rest."""
        return self._with_rest("power_max_milliwatts")

    @property
    def expected(self) -> Ints:
        """Return the parts that should report: what the partial says, else what the registry says."""
        said = self.column("expected")
        return np.where(said == MISSING, self.members.sources["parts"].to_numpy().astype(np.int64), said)

    def known(self) -> Known:
        """Return what the bounds of sums are made of."""
        reporting, expected = zeroed(self.column("reporting")), self.expected
        drawn = zeroed(self.column("power_milliwatts"))
        nameplate = self.members.sources["nameplate_milliwatts"].to_numpy()
        plate = np.where(nameplate == UNKNOWN_POWER, MISSING, nameplate)
        own_left = np.where(plate == MISSING, BOUNDLESS, np.maximum(plate - drawn, 0))
        said = np.where(reporting > 0, self.column("silent_nameplate_milliwatts"), MISSING)
        silent = np.where(said == MISSING, np.where(reporting > 0, BOUNDLESS, own_left), said)
        alone = np.where(reporting >= expected, 0, silent)
        is_metered = (self.members.sources["kind"] == SubjectKind.METER).to_numpy()
        is_fresh = self.column("oldest_age_microseconds") <= FRESH_MICROSECONDS
        return Known(
            drawn=drawn,
            alone=alone,
            ceiling=np.where(is_metered, alone, own_left),
            left=left_of_nameplates(self.members, plate, drawn),
            proves=(self.column("power_milliwatts") != MISSING) & (reporting >= expected) & is_fresh,
            is_metered=is_metered,
        )


def _contradicted(rows: pl.DataFrame) -> Ints:
    """Return the seconds, UTC µs, in which streams hold different readings of one source and none may know all.

    Of a meter each stream lacks the other's. GPUs of a rack may be different ones, and for all that is known they are
    where together they are as many as the rack has.
    """
    if not rows.select(_KEY).is_duplicated().any():
        return np.zeros(0, dtype=np.int64)
    different = _each_once(rows.filter(pl.col("readings") > 0)).filter(pl.len().over(_KEY) > 1)
    is_whole = (pl.col("subject_kind") == SubjectKind.RACK) & (_together("reporting") == _together("expected", "max"))
    return different.filter(~is_whole)["second"].cast(pl.Int64).unique().to_numpy().copy()


def _one_row_a_source(rows: pl.DataFrame) -> pl.DataFrame:
    """Join what several streams say of one source (docs/decisions/0037).

    Of a meter the fuller one stands. GPUs of a rack add up, each set of readings once; where more report than there
    are, some were said twice, and the fuller one stands. Its version still counts all that was said.
    """
    if not rows.select(_KEY).is_duplicated().any():
        return rows
    is_meter = pl.col("subject_kind") == SubjectKind.METER
    racks = _each_once(rows.filter(~is_meter))
    is_doubled = _together("reporting") > _together("expected", "max")
    said = {name: _together(name) for name in ("readings", "digest")}
    doubled = racks.filter(is_doubled).with_columns(**said)
    fuller = [_fuller(rows.filter(is_meter)), _fuller(doubled)]
    return pl.concat([*fuller, _added(racks.filter(~is_doubled))], how="vertical_relaxed")


_KEY = ["second", "source"]


def _together(name: str, how: str = "sum") -> pl.Expr:
    return getattr(pl.col(name), how)().over(_KEY)  # type: ignore[no-any-return]


def _each_once(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out what one stream says of a source as another does: a message that was sent twice without a key."""
    return rows.sort("stream").unique([*_KEY, "readings", "digest"], keep="first", maintain_order=True)


def _fuller(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("reporting", "readings", "stream").unique(_KEY, keep="last", maintain_order=True)


def _added(rows: pl.DataFrame) -> pl.DataFrame:
    """Add up what streams say of the GPUs of a rack."""
    greatest = {"temperature_max_decicelsius", "oldest_age_microseconds", "energy_method", "expected"}
    apart = {*_KEY, "subject_kind", "subject", "stream", "admission", *greatest}
    sums = [pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name)
            for name in rows.columns if name not in apart]  # fmt: skip
    racks = rows.group_by(*_KEY, "subject_kind", "subject", maintain_order=True)
    joined = racks.agg(
        pl.col("stream").first(), pl.col("admission").min(), *sums, *(pl.col(name).max() for name in sorted(greatest))
    )
    return joined.select(rows.columns)
