"""Admission: which rows may pass, and the integers that every sum and the lake use.

Pure and versioned (ADMISSION_VERSION): streams and lake call the same function, so a reading is admitted
or refused, and quantized, in one way everywhere. A bad row never costs a good one, and nothing is
converted silently.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import polars as pl

from schemas.admission_rules import Rule, not_absurd, rules
from schemas.column import Record
from schemas.gpu import GPU
from schemas.meter import METER
from schemas.nameplates import Nameplates, ceilings
from schemas.rejected import REJECTED
from schemas.rejection import ADMISSION_VERSION
from schemas.topics import TOPICS

__all__ = ["ADMISSION_VERSION", "QUANTIZED", "Admitted", "Clock", "admit"]

Clock = Literal["wall", "event"]
"""`wall`: event time is held against Kafka's append time; `event`: a replay keeps its own time."""


class Admitted(NamedTuple):
    """Carry the admitted rows with their integers, and the refusals (frame of REJECTED, no raw bytes)."""

    rows: pl.DataFrame
    refused: pl.DataFrame


class Quantum(NamedTuple):
    """Say which integer column stands for a measured one: `name` = round half to even of `source` × `scale`."""

    name: str
    source: str
    scale: float
    dtype: type[pl.DataType]


QUANTIZED: dict[str, tuple[Quantum, ...]] = {
    GPU.name: (
        Quantum("power_deciwatts", "power_watts", 10, pl.Int32),
        Quantum("energy_whole_joules", "energy_joules", 1, pl.Int64),
        Quantum("utilization_e4", "utilization_fraction", 10_000, pl.Int16),
        Quantum("encoder_e4", "encoder_fraction", 10_000, pl.Int16),
        Quantum("decoder_e4", "decoder_fraction", 10_000, pl.Int16),
    ),
    METER.name: (
        Quantum("power_milliwatts", "power_watts", 1000, pl.Int64),
        Quantum("energy_millijoules", "energy_joules", 1000, pl.Int64),
        Quantum("current_milliamps", "current_amps", 1000, pl.Int64),
    ),
}
"""The integers that admission adds, by record; a null stays null."""

_TOPIC_OF: dict[str, str] = {topic.record.name: topic.name for topic in TOPICS if topic.record is not None}


def admit(record: Record, frame: pl.DataFrame, registry: Nameplates | None, *, clock: Clock) -> Admitted:
    """Split decoded rows into admitted ones, quantized, and refusals.

    Frame in: the record's columns and schemas.arrow.PLACE_COLUMNS. Frame out: the same and QUANTIZED, in the
    same order. Each refused row is refused once, for the first reason that applies. Pure; one cheap pass where
    all is good.
    """
    checks = rules(record, clock)
    limit = ceilings(record, registry)
    is_plausible = limit is None or not limit.exceeded(frame)
    if is_plausible and frame.select(pl.all_horizontal(_all_good(checks))).item():
        return Admitted(quantize(record, frame), REJECTED.empty())
    if limit is not None:
        frame = frame.with_columns(_ceiling_watts=limit.of(frame))
        checks = [*checks, not_absurd()]
    good = pl.all_horizontal(check.good.fill_null(True) for check in checks)
    refused = _refusals(_TOPIC_OF[record.name], frame.filter(~good), checks)
    return Admitted(quantize(record, frame.filter(good).drop("_ceiling_watts", strict=False)), refused)


def _all_good(checks: list[Rule]) -> list[pl.Expr]:
    """Return one reduction a rule, without those that another one covers."""
    return [check.good.all().alias(str(index)) for index, check in enumerate(checks) if not check.is_implied]


def quantize(record: Record, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with QUANTIZED added, reckoned in float64 and rounded half to even as np.rint does."""
    return frame.with_columns(
        (pl.col(quantum.source).cast(pl.Float64) * quantum.scale)
        .round(0, mode="half_to_even")
        .cast(quantum.dtype)
        .alias(quantum.name)
        for quantum in QUANTIZED.get(record.name, ())
    )


def _refusals(topic: str, bad: pl.DataFrame, checks: list[Rule]) -> pl.DataFrame:
    """Return one refusal a row of `bad`, by the first rule that it breaks, sorted as `bad` is."""
    found = []
    for check in checks:
        broken = ~check.good.fill_null(True)
        hit, bad = bad.filter(broken), bad.filter(~broken)
        if not hit.is_empty():
            found.append(_sentences(topic, hit, check))
    return pl.concat(found).sort("partition", "offset", "row") if found else REJECTED.empty()


def _sentences(topic: str, hit: pl.DataFrame, check: Rule) -> pl.DataFrame:
    """Return the refusals of rows that break one rule."""
    value = check.value.str.slice(0, 200)
    said = pl.format(topic + "/{}/{} row {}: {}", "_partition", "_offset", "_row", check.sentence)
    return hit.select(
        topic=pl.lit(topic),
        partition="_partition",
        offset="_offset",
        row="_row",
        reason=pl.lit(check.reason),
        field=pl.lit(check.field),
        value=value,
        message=said,
        appended="_appended",
        admission=pl.lit(ADMISSION_VERSION, pl.Int16),
        raw=pl.lit(None, pl.Binary),
    )
