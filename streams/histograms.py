"""Histograms of closed minutes: of each subject's power by the second, and of the GPUs of racks. Pure."""

from __future__ import annotations

import numpy as np
import polars as pl

from schemas.admission import ADMISSION_VERSION
from schemas.histogram import HISTOGRAM, Metric, power_bin
from schemas.subject import SubjectKind
from streams.condition import Ints
from streams.lists import begins
from streams.pieces import BIN_BITS, RackPiece
from streams.sums import MISSING

EVERY_SECONDS = 60
_MILLIWATTS = 100
"""In 0.1 W, the unit of bins of power."""
_BIAS = 1 << (BIN_BITS - 1)
_METRIC_BITS = BIN_BITS + 4


def power_histograms(whose: pl.DataFrame, power: Ints, versions: tuple[Ints, Ints], minute: int) -> pl.DataFrame:
    """Return HISTOGRAM rows of one minute of subjects, from their power in its seconds.

    `whose`: frame (subject_kind, subject, facility), a row a subject; `power`: [second, subject] in mW, MISSING
    where there is none; `versions`: (readings, digest) of the minute by subject.
    """
    there = power.T != MISSING
    bins = power_bin(np.where(there, power.T, 0) // _MILLIWATTS)
    which, _ = np.nonzero(there)
    # Subject and bin in one number: sorting numbers costs a tenth of sorting pairs.
    packed = np.sort((which << BIN_BITS) + bins[there] + _BIAS)
    first = np.flatnonzero(np.r_[True, packed[1:] != packed[:-1]][: len(packed)])
    counts = np.diff(np.append(first, len(packed)))
    subject = packed[first] >> BIN_BITS
    found = whose[subject].with_columns(
        bin=pl.Series(packed[first] % (2 * _BIAS) - _BIAS),
        count=pl.Series(counts),
        metric=pl.lit(Metric.POWER_WATTS.value),
        version_readings=pl.Series(versions[0][subject]),
        version_digest=pl.Series(versions[1][subject]),
    )
    return _rows(found, minute)


def gpu_histograms(racks: pl.DataFrame, pieces: list[list[RackPiece]], minute: int) -> pl.DataFrame:
    """Return HISTOGRAM rows of one minute of racks from the histograms of its pieces.

    `racks`: frame (subject, facility); `pieces`: by rack, what each piece says of it.
    """
    said = [(nth, piece) for nth, of_rack in enumerate(pieces) for piece in of_rack]
    if not said:
        return HISTOGRAM.empty()
    # Rack, metric and bin in one number, as in power_histograms.
    packed = np.concatenate([(nth << _METRIC_BITS) + piece.binned for nth, piece in said])
    count = np.concatenate([piece.counts for _, piece in said])
    order = np.argsort(packed, kind="stable")
    packed = packed[order]
    first = np.flatnonzero(begins(packed))
    which, binned = packed[first] >> _METRIC_BITS, packed[first] % (1 << _METRIC_BITS)
    readings = np.array([sum(piece.readings for piece in of_rack) for of_rack in pieces])
    digest = np.array([_wrapped(sum(piece.digest for piece in of_rack)) for of_rack in pieces])
    found = racks[which].with_columns(
        subject_kind=pl.lit(SubjectKind.RACK.value),
        metric=pl.Series(binned >> BIN_BITS),
        bin=pl.Series(binned % (2 * _BIAS) - _BIAS),
        count=pl.Series(np.add.reduceat(count[order], first)),
        version_readings=pl.Series(readings[which]),
        version_digest=pl.Series(digest[which]),
    )
    return _rows(found, minute)


def _wrapped(total: int) -> int:
    """Return a sum mod 2⁶⁴ as a signed integer."""
    return (total + (1 << 63)) % (1 << 64) - (1 << 63)


def _rows(found: pl.DataFrame, minute: int) -> pl.DataFrame:
    named = found.with_columns(
        window_start=pl.lit(minute).cast(pl.Datetime("us")),
        every_seconds=pl.lit(EVERY_SECONDS),
        version_admission=pl.lit(ADMISSION_VERSION),
        version_facility=pl.col("facility"),
        version_generation=pl.lit(0),
    )
    return named.select(*HISTOGRAM.polars).cast(HISTOGRAM.polars)  # type: ignore[arg-type]
