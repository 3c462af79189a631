"""Windows of a campus day as rows on disk: what the streams would have told of every subject, made in whole hours."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.campus import SECOND, SEED
from schemas.job import Job, job_subject
from schemas.subject import SubjectKind
from sinks.lake.tables import Table

Ints = NDArray[np.int64]

HOUR_SECONDS = 3_600
_USUAL_WATTS = {
    SubjectKind.SITE: 1.2e8,
    SubjectKind.HALL: 3e7,
    SubjectKind.ROW: 2e6,
    SubjectKind.RACK: 8e4,
    SubjectKind.NODE: 6e3,
    SubjectKind.GPU: 700.0,
    SubjectKind.FEED: 5e5,
    SubjectKind.PANEL: 2e6,
    SubjectKind.UPS_GROUP: 1e7,
    SubjectKind.UTILITY: 1.2e8,
    SubjectKind.JOB: 5e5,
}
_APPENDED_AFTER = 2 * SECOND


def subjects_of(subjects: pl.DataFrame, *, fine_share: float, with_fine: bool) -> pl.DataFrame:
    """Return (kind, id) of what has windows; of GPUs and nodes only `fine_share`, as a lake of less density has."""
    is_fine = pl.col("kind").is_in([SubjectKind.NODE, SubjectKind.GPU])
    has_windows = subjects.filter(pl.col("kind").is_in([int(kind) for kind in _USUAL_WATTS]))
    coarse, fine = has_windows.filter(~is_fine), has_windows.filter(is_fine & with_fine)
    kept = fine.gather_every(max(1, round(1 / fine_share)))
    return pl.concat([coarse, kept]).select("kind", "id").sort("kind", "id")


def windows(table: Table, subjects: pl.DataFrame, jobs: list[tuple[Job, int]], hour: int, every: int) -> pa.Table:
    """Return the windows of `every` seconds of an hour (since 1970), sorted as the table's files are.

    `jobs` come with the offset of their record; one has windows while it runs.
    """
    began = hour * HOUR_SECONDS
    starts = np.arange(began, began + HOUR_SECONDS, every)
    kind = np.repeat(subjects["kind"].to_numpy(), len(starts))
    subject = np.repeat(subjects["id"].to_numpy(), len(starts))
    start = np.tile(starts, len(subjects))
    facility = np.ones(len(kind), np.int64)
    for job, offset in jobs:
        runs = starts[(starts >= job.started.timestamp()) & (starts < job.ended.timestamp())]
        kind = np.append(kind, np.full(len(runs), int(SubjectKind.JOB)))
        subject = np.append(subject, np.full(len(runs), job_subject(job.site, job.job)))
        start, facility = np.append(start, runs), np.append(facility, np.full(len(runs), offset + 1))
    order = np.lexsort((start, subject, kind))
    return _rows(table, every, *(column[order] for column in (kind, subject, start, facility)))


def _rows(table: Table, every: int, *keys: Ints) -> pa.Table:
    kind, subject, start, facility = keys
    draw = np.random.default_rng((SEED, int(start[0]), every))
    usual = np.zeros(max(_USUAL_WATTS) + 1)
    usual[list(_USUAL_WATTS)] = list(_USUAL_WATTS.values())
    own = 0.5 + (subject * 2_654_435_761 % 1_000) / 2_000
    watts = np.round(usual[kind] * own * draw.normal(1, 0.02, len(kind)), 3)
    count, is_feed = len(kind), kind == SubjectKind.FEED
    columns = {
        "window_start": start * SECOND,
        "every_seconds": np.full(count, every),
        "subject_kind": kind,
        "subject": subject,
        "power_watts": watts,
        "power_low_watts": watts,
        "power_high_watts": watts,
        "power_max_watts": np.round(watts * 1.05, 3),
        "power_basis": np.where(kind == SubjectKind.JOB, 2, 1),
        "current_square_seconds": np.ma.masked_array(np.round((watts / 690) ** 2 * every, 3), ~is_feed),
        "energy_joules": np.round(watts * every, 3),
        "energy_method": np.full(count, 3),
        "utilization_fraction": np.round(draw.uniform(0.4, 0.9, count), 4),
        "temperature_max_celsius": np.round(draw.uniform(50, 80, count)),
        "expected": np.ones(count),
        "reporting": np.ones(count),
        "oldest_age_seconds": np.round(draw.uniform(0, 1, count), 3),
        "version_admission": np.ones(count),
        "version_facility": facility,
        "version_generation": np.zeros(count),
        "version_readings": np.full(count, every),
        "version_digest": draw.integers(-(2**62), 2**62, count),
        "_partition": np.zeros(count),
        "_offset": start,
        "_row": np.arange(count) % 10_000,
        "_appended": (start + every) * SECOND + _APPENDED_AFTER,
    }
    return pa.table([_array(columns[field.name], field.type) for field in table.columns], schema=table.arrow)


def _array(values: np.ndarray, dtype: pa.DataType) -> pa.Array:
    kind = np.int64 if pa.types.is_timestamp(dtype) else dtype.to_pandas_dtype()
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    return pa.array(np.asarray(values).astype(kind), mask=mask).cast(dtype)
