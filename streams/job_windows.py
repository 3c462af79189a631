"""From what partitions say of jobs to seconds, minutes and windows of jobs. Pure, all in integers of frames."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from schemas.rejection import ADMISSION_VERSION
from schemas.subject import SubjectKind
from schemas.window import WINDOW
from streams.job_book import Plan
from streams.minutes import MINUTE

SECOND = 1_000_000
DERIVED, INTEGRAL = 2, 3

SECONDS = {
    "second": pl.Int64, "site": pl.String, "subject": pl.Int64, "record": pl.Int64, "power": pl.Int64, "low": pl.Int64,
    "high": pl.Int64, "peak": pl.Int64, "energy": pl.Int64, "utilization_sum": pl.Int64, "utilization_count": pl.Int64,
    "temperature": pl.Int64, "expected": pl.Int64, "reporting": pl.Int64, "oldest_age": pl.Int64,
    "admission": pl.Int64, "readings": pl.Int64, "digest": pl.Int64,
}  # fmt: skip
"""A row a job and second (or minute, `second` being its start, UTC µs): power in mW, energy in mJ, temperature in
0.1 °C, utilization as a sum in 10⁻⁴, age in µs; null where nothing is known. `expected` 0 = withdrawn."""

_PLACE = ["second", "partition", "subject"]


def seconds_of(plan: Plan, seconds: Iterable[int], said: pl.DataFrame) -> pl.DataFrame:
    """Return SECONDS of every job of a plan in seconds (µs) in which it holds, made of rows of JOB_PARTIAL.

    Rows of another coverage are void; of what one partition says of a job and second the fullest stands.
    """
    jobs = _jobs(plan)
    starts = pl.DataFrame({"second": list(seconds)}, schema={"second": pl.Int64})
    rows = said.with_columns(pl.col("second").to_physical(), pl.col("subject").cast(pl.Int64))
    valid = rows.join(jobs.select("subject", "coverage"), on=["subject", "coverage"], how="semi")
    fullest = valid.sort("admission", "readings", "digest").unique(_PLACE, keep="last", maintain_order=True)
    summed = fullest.group_by("second", "subject").agg(
        *(_sum(name) for name in ("power_milliwatts", "power_max_milliwatts")),
        nameplate_drawn=pl.when(~pl.col("nameplate_milliwatts").is_null().any()).then(pl.sum("nameplate_milliwatts")),
        utilization_sum=pl.sum("utilization_sum_e4"),
        utilization_count=pl.sum("utilization_count").cast(pl.Int64),
        temperature=pl.max("temperature_max_decicelsius").cast(pl.Int64),
        reporting=pl.sum("reporting").cast(pl.Int64),
        oldest_age=pl.max("oldest_age_microseconds"),
        admission=pl.min("admission").cast(pl.Int64),
        readings=pl.sum("readings"),
        digest=pl.sum("digest"),
    )
    every = starts.join(jobs, how="cross").join(summed, on=["second", "subject"], how="left", maintain_order="left")
    return _bounded(every).select(SECONDS.keys()).cast(SECONDS)  # type: ignore[arg-type]


def withdrawn(site: str, subject: int, record: int, seconds: Iterable[int]) -> pl.DataFrame:
    """Return SECONDS in which by its newest record a job has no GPU any more."""
    said = {"site": site, "subject": subject, "record": record, "admission": ADMISSION_VERSION}
    counts = dict.fromkeys(("utilization_count", "expected", "reporting", "readings", "digest"), 0)
    empty = dict.fromkeys(SECONDS) | said | counts
    return pl.DataFrame([empty | {"second": each} for each in seconds], schema=SECONDS)


def minutes_of(seconds: pl.DataFrame) -> pl.DataFrame:
    """Return the minutes of jobs, of all the seconds that each has there (streams.minutes says how), as SECONDS.

    A second that was withdrawn is none; of a minute of such seconds only the minute is withdrawn, too.
    """
    minute, there = pl.col("second") // MINUTE * MINUTE, pl.col("expected") > 0
    left = minute + MINUTE - pl.col("second") - SECOND
    aged = seconds.sort("second").with_columns(minute=minute, there=there, aged=pl.col("oldest_age") + left)
    found = aged.group_by("minute", "site", "subject", maintain_order=True).agg(
        _mean("power"),
        pl.when(pl.col("low").count() > 0).then(_mean("low", pl.col("low").fill_null(0).filter("there"))).alias("low"),
        pl.when(~(pl.col("there") & pl.col("high").is_null()).any()).then(_mean("high")).alias("high"),
        *(pl.col(name).max() for name in ("record", "peak", "temperature", "expected")),
        _sum("energy"),
        *(pl.col(name).sum() for name in ("utilization_sum", "utilization_count", "readings", "digest")),
        reporting=pl.col("reporting").filter("there").min().fill_null(0),
        oldest_age=pl.col("aged").filter(pl.col("aged").is_not_null()).last(),
        admission=pl.col("admission").min(),
    )
    return found.rename({"minute": "second"}).select(SECONDS.keys()).cast(SECONDS)  # type: ignore[arg-type]


def windows_of(seconds: pl.DataFrame, every_seconds: int) -> pl.DataFrame:
    """Return WINDOW rows of SECONDS, ordered by (window_start, subject); generation 0, live."""
    rows = seconds.sort("second", "subject")
    has_power = rows["power"].is_not_null()
    utilization = rows["utilization_sum"].cast(pl.Float64) / rows["utilization_count"].replace(0, None)
    columns = {
        "window_start": rows["second"].cast(pl.Datetime("us")),
        "every_seconds": pl.repeat(every_seconds, len(rows), dtype=pl.Int16, eager=True),
        "subject_kind": pl.repeat(int(SubjectKind.JOB), len(rows), dtype=pl.Int8, eager=True),
        "subject": rows["subject"],
        **{name: _divided(rows[ours], 1000) for name, ours in _THOUSANDTHS.items()},
        "power_basis": pl.repeat(DERIVED, len(rows), eager=True).set(~has_power, None),
        "current_square_seconds": pl.repeat(None, len(rows), eager=True),
        "energy_method": pl.repeat(INTEGRAL, len(rows), eager=True).set(~has_power, None),
        "utilization_fraction": _divided(utilization, 10_000),
        "temperature_max_celsius": _divided(rows["temperature"], 10),
        **{name: rows[name] for name in ("expected", "reporting")},
        "oldest_age_seconds": _divided(rows["oldest_age"], 1_000_000),
        "version_admission": rows["admission"],
        "version_facility": rows["record"],
        "version_generation": pl.repeat(0, len(rows), dtype=pl.Int32, eager=True),
        "version_readings": rows["readings"],
        "version_digest": rows["digest"],
    }
    return pl.DataFrame(columns).select(WINDOW.polars.keys()).cast(WINDOW.polars)  # type: ignore[arg-type]


_THOUSANDTHS = {
    "power_watts": "power", "power_low_watts": "low", "power_high_watts": "high", "power_max_watts": "peak",
    "energy_joules": "energy",
}  # fmt: skip


def _divided(values: pl.Series, by: int) -> pl.Series:
    # Trap: polars divides a column by a scalar as a product with its inverse, which is not correctly rounded.
    return pl.Series(values.cast(pl.Float64).fill_null(float("nan")).to_numpy() / by, nan_to_null=True)


def _jobs(plan: Plan) -> pl.DataFrame:
    """Return a row a job of a plan; of two jobs that share a number the one whose record is the newer."""
    frame = pl.DataFrame(
        {
            "site": [each.name[0] for each in plan.tenures],
            "subject": plan.subject,
            "record": plan.record,
            "coverage": plan.coverage,
            "expected": plan.expected,
            "nameplate": plan.nameplate_milliwatts,
        },
        schema_overrides={"site": pl.String, "nameplate": pl.Int64},
    ).with_columns(pl.when(pl.col("nameplate") >= 0).then("nameplate"))
    return frame.sort("record").unique("subject", keep="last", maintain_order=True)


def _sum(name: str) -> pl.Expr:
    return pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name)


def _mean(name: str, of: pl.Expr | None = None) -> pl.Expr:
    """Return the mean of what is there of a column, or of what is counted in its place; null where nothing is."""
    of = pl.col(name) if of is None else of
    mean = (of.sum() / of.count()).round(mode="half_to_even")
    return pl.when(pl.col(name).count() > 0).then(mean).alias(name)


def _bounded(rows: pl.DataFrame) -> pl.DataFrame:
    """Add bounds: the silent draw nothing at least, and their nameplates at most."""
    counts = ("utilization_count", "reporting", "readings", "digest")
    rows = rows.with_columns(
        *(pl.col(name).fill_null(0) for name in counts), pl.col("admission").fill_null(ADMISSION_VERSION)
    )
    drawn = pl.col("power_milliwatts").fill_null(0)
    drawn_of = pl.when(pl.col("reporting") > 0).then("nameplate_drawn").otherwise(0)
    silent = pl.when(pl.col("reporting") >= pl.col("expected")).then(0).otherwise(pl.col("nameplate") - drawn_of)
    # A GPU that lies in two partitions counts twice until its rack's second is recomputed (decision 0037).
    rows = rows.with_columns(high=drawn + silent, reporting=pl.min_horizontal("reporting", "expected"))
    known = pl.col("high").is_not_null() | pl.col("power_milliwatts").is_not_null()
    return rows.with_columns(
        low=pl.when(known).then(drawn),
        power=pl.col("power_milliwatts"),
        peak=pl.col("power_max_milliwatts"),
        energy=pl.col("power_milliwatts"),
    )
