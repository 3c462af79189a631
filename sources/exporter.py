"""GPU exporters: how the metrics of one become the columns of a GPU reading; a vendor's own table is its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from schemas.gpu import GPU
from sources.prometheus import label, samples

FRACTIONS = ("utilization_fraction", "encoder_fraction", "decoder_fraction")
MEASURED = (
    "power_watts",
    "power_limit_watts",
    *FRACTIONS,
    "memory_used_bytes",
    "temperature_celsius",
    "memory_temperature_celsius",
    "sm_clock_mhz",
    "throttle_reasons",
    "energy_joules",
)
DOUBTFUL_FRACTION = 2.0
"""Above it a fraction is nonsense and null; from 1 to it the counting window slipped, and it is 1."""


@dataclass(frozen=True)
class Metric:
    """Say which column a metric is, what its unit is times ours, and which labels it must carry.

    Of two metrics for one column the one that stands first in its exporter's table is taken.
    """

    column: str
    factor: float = 1.0
    with_label: tuple[str, str] | None = None


@dataclass(frozen=True)
class Exporter:
    """Describe one exporter: its metrics, the labels of a GPU and of its instance, and what it says for "blank".

    `measured` gets the expression of a sample's number and of its metric's name and returns the number,
    null where it is a blank; `mend` puts right what only the whole board tells.
    """

    metrics: dict[str, Metric]
    gpu_label: str
    instance_label: str
    measured: Callable[[pl.Expr, pl.Expr], pl.Expr]
    mend: Callable[[pl.DataFrame], pl.DataFrame] = lambda readings: readings


def readings(answers: Sequence[str], exporter: Exporter) -> pl.DataFrame:
    """Return the GPU readings in these answers; one of which everything is blank is none.

    **Frame** out: `answer` u32 (index), `gpu` i32, `instance` i16 (null = whole board), `stamp_ms` i64
    (newest of its samples' own times, null = none sent) and the measured columns of `schemas.gpu.GPU`;
    one row an answer, GPU and instance.
    """
    table = pl.DataFrame(
        [(name, rank, metric.column, metric.factor) for rank, (name, metric) in enumerate(exporter.metrics.items())],
        schema={"name": pl.String, "rank": pl.Int32, "column": pl.String, "factor": pl.Float64},
        orient="row",
    )
    found = samples(answers, list(exporter.metrics)).with_columns(
        gpu=label(exporter.gpu_label).cast(pl.Int32, strict=False),
        instance=label(exporter.instance_label).cast(pl.Int16, strict=False),
    )
    found = found.filter(pl.col("gpu").is_not_null(), _carries_its_label(exporter))
    found = found.join(table, on="name").with_columns(number=_number(exporter) * pl.col("factor")).sort("rank")
    return exporter.mend(_wide(found))


def _number(exporter: Exporter) -> pl.Expr:
    number = pl.col("value").cast(pl.Float64, strict=False)
    # NaN and the infinities are Prometheus's words for what was not measured.
    return exporter.measured(pl.when(number.is_finite()).then(number), pl.col("name"))


def _carries_its_label(exporter: Exporter) -> pl.Expr:
    wrong = [
        (pl.col("name") == name) & (label(metric.with_label[0]) != metric.with_label[1])
        for name, metric in exporter.metrics.items()
        if metric.with_label
    ]
    return ~pl.any_horizontal(*wrong, pl.lit(False)).fill_null(True)


def _wide(found: pl.DataFrame) -> pl.DataFrame:
    first = [
        pl.col("number").filter(pl.col("column") == column, pl.col("number").is_not_null()).first().alias(column)
        for column in MEASURED
    ]
    wide = found.group_by("answer", "gpu", "instance").agg(pl.col("stamp_ms").max(), *first)
    wide = wide.with_columns(_fraction(column) for column in FRACTIONS)
    wide = wide.with_columns(pl.col(column).cast(GPU.polars[column], strict=False) for column in MEASURED)
    return wide.filter(pl.any_horizontal(pl.col(MEASURED).is_not_null())).sort("answer", "gpu", "instance")


def _fraction(column: str) -> pl.Expr:
    value = pl.col(column)
    return pl.when(value <= DOUBTFUL_FRACTION).then(pl.min_horizontal(value, 1.0)).alias(column)
