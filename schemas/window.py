"""The window: one row a subject and interval `[window_start, window_start + every_seconds)`.

A job is a subject too (schemas.job.job_subject). What a job has is not the facility's knowledge but that of
its record, so in the windows of a job `version_facility` is the offset + 1 of its newest record on
`telemetry.jobs.v1`: a window made with a later record is the greater, whatever number of readings it has.
Its power is the sum of its GPUs without the rest of their nodes, so it is derived. A job's window with
`expected` 0 is withdrawn: by a later record the job had no GPU in it.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.column import TIME, Column, Record

WINDOW = Record(
    name="windows.site",
    version=1,
    identity=("subject_kind", "subject", "every_seconds", "window_start"),
    columns=(
        Column("window_start", TIME, "first instant of the window", "UTC µs", null=None),
        Column("every_seconds", pa.int16(), "length of the window, 1 or 60", "s", null=None, low=1, high=3600),
        Column("subject_kind", pa.int8(), "SubjectKind", null=None, low=1, high=12),
        Column("subject", pa.int32(), "registry id within its kind; a job's number", null=None),
        Column("power_watts", pa.float64(), "mean over the window of what reported", "W", null="nothing reported"),
        Column(
            "power_low_watts",
            pa.float64(),
            "lower bound: the silent at 0, or at what the meter above proves",
            "W",
            null="nothing known",
        ),
        Column(
            "power_high_watts",
            pa.float64(),
            "upper bound: the silent at nameplate, or at what the meter above leaves them",
            "W",
            null="nobody knows what a silent part may draw",
        ),
        Column("power_max_watts", pa.float64(), "largest reading in the window", "W", null="nothing reported"),
        Column("power_basis", pa.int8(), "1 = measured, 2 = derived from parts, 3 = estimate", null="no power"),
        Column("current_square_seconds", pa.float64(), "Σ i²·dt (feeds)", "A²s", null="no current measured"),
        Column("energy_joules", pa.float64(), "energy of the window", "J", null="nothing reported"),
        Column("energy_method", pa.int8(), "1 = counter, 2 = mean_times_span, 3 = integral", null="no energy"),
        Column("utilization_fraction", pa.float64(), "mean over the GPUs that reported", "1", null="no GPU reported"),
        Column("temperature_max_celsius", pa.float64(), "hottest GPU", "°C", null="none measured"),
        Column("expected", pa.int32(), "parts that should report: meters, or GPUs where there is no meter", null=None),
        Column("reporting", pa.int32(), "parts that did; of a minute, the least of its sixty seconds", null=None),
        Column(
            "oldest_age_seconds",
            pa.float64(),
            "age at the window's end of the oldest reading used",
            "s",
            null="nothing reported",
        ),
        Column("version_admission", pa.int16(), "version of the admission rules", null=None),
        Column("version_facility", pa.int32(), "version of the facility; JOB: offset + 1 of its record", null=None),
        Column("version_generation", pa.int32(), "0 = live, higher = recomputed from the lake", null=None),
        Column(
            "version_readings", pa.int64(), "number of readings that the window and its bounds depend on", null=None
        ),
        Column("version_digest", pa.int64(), "Σ mod 2⁶⁴ of a hash a reading, as signed", null=None),
    ),
)
