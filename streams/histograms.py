"""Histograms of closed minutes: of each subject's power by the second, and of the GPUs of racks. Pure."""

from __future__ import annotations

import numpy as np
import polars as pl

from schemas.admission import ADMISSION_VERSION
from schemas.histogram import HISTOGRAM, Metric, power_bin
from schemas.subject import SubjectKind
from streams.condition import Ints
from streams.sums import MISSING

EVERY_SECONDS = 60
_MILLIWATTS = 100
"""In 0.1 W, the unit of bins of power."""
_BIN_BITS = 16
_BIAS = 1 << (_BIN_BITS - 1)


def power_histograms(whose: pl.DataFrame, power: Ints, versions: tuple[Ints, Ints], minute: int) -> pl.DataFrame:
    """Return HISTOGRAM rows of one minute of subjects, from their power in its seconds.

    `whose`: frame (subject_kind, subject, facility), a row a subject; `power`: [second, subject] in mW, MISSING
    where there is none; `versions`: (readings, digest) of the minute by subject.
    """
    there = power.T != MISSING
    bins = power_bin(np.where(there, power.T, 0) // _MILLIWATTS)
    which, _ = np.nonzero(there)
    # Subject and bin in one number: sorting numbers costs a tenth of sorting pairs.
    packed = np.sort((which << _BIN_BITS) + bins[there] + _BIAS)
    first = np.flatnonzero(np.r_[True, packed[1:] != packed[:-1]][: len(packed)])
    counts = np.diff(np.append(first, len(packed)))
    subject = packed[first] >> _BIN_BITS
    found = whose[subject].with_columns(
        bin=pl.Series(packed[first] % (2 * _BIAS) - _BIAS),
        count=pl.Series(counts),
        metric=pl.lit(Metric.POWER_WATTS.value),
        version_readings=pl.Series(versions[0][subject]),
        version_digest=pl.Series(versions[1][subject]),
    )
    return _rows(found, minute)


def gpu_histograms(racks: pl.DataFrame, pieces: pl.DataFrame, minute: int) -> pl.DataFrame:
    """Return HISTOGRAM rows of one minute of racks from the histograms of its pieces.

    `racks`: frame (subject, facility); `pieces`: frame (subject, metric, bin, count, readings, digest), of each
    rack and piece one version.
    """
    versions = (
        pieces.select("start", "subject", "readings", "digest")
        .unique(("start", "subject"))
        .group_by("subject")
        .agg(version_readings=pl.col("readings").cast(pl.Int64).sum(), version_digest=pl.col("digest").sum())
    )
    found = (
        pieces.group_by("subject", "metric", "bin")
        .agg(pl.col("count").sum())
        .join(versions, on="subject")
        .join(racks, on="subject", how="inner")
        .sort("subject", "metric", "bin")
        .with_columns(subject_kind=pl.lit(SubjectKind.RACK.value))
    )
    return _rows(found, minute)


def _rows(found: pl.DataFrame, minute: int) -> pl.DataFrame:
    named = found.with_columns(
        window_start=pl.lit(minute).cast(pl.Datetime("us")),
        every_seconds=pl.lit(EVERY_SECONDS),
        version_admission=pl.lit(ADMISSION_VERSION),
        version_facility=pl.col("facility"),
        version_generation=pl.lit(0),
    )
    return named.select(*HISTOGRAM.polars).cast(HISTOGRAM.polars)  # type: ignore[arg-type]
