"""The readers alone, on the recorded runs: every figure of the reference before anything else can be at fault."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sources.recorded.runs import Found, Run, find, left_out
from tests.real_input.reference import ABOVE_WATTS, SETS, declared_kwh, moment, reference

TIME = pl.col("time").dt.replace_time_zone("UTC")


@pytest.fixture(scope="module")
def found(shared_data: Path) -> Found:
    return find([shared_data / name for name in SETS])


def run_called(found: Found, name: str) -> Run:
    (run,) = [run for run in found.runs if f"{run.name}/".startswith(f"{name}/")]
    return run


def test_six_inference_runs_and_seven_training_jobs_are_found_and_every_line_is_read(found: Found) -> None:
    assert [run.format for run in found.runs].count("ptdaemon") == 6
    assert [(run.format, len(run.meters)) for run in found.runs].count(("mllog", 64)) == 7
    assert sum(len(log.unread) for log in found.files) == 0
    assert left_out(found) == {"interconnect_power_est": 7}


def test_published_mean_powers(found: Found, shared_data: Path) -> None:
    for expected in reference(shared_data)[0]:
        (meter,) = run_called(found, expected["run"]).meters
        (span,) = meter.spans
        total = meter.log.readings.filter(phase=0)
        within = total.filter(pl.col("time").dt.epoch("us").is_between(*span))["power_watts"]
        assert within.len() == expected["in_window"]
        assert within.mean() == pytest.approx(expected["published_avg_W"], abs=1e-6)


def test_counts_extremes_and_channels_of_the_inference_runs(found: Found, shared_data: Path) -> None:
    for expected in reference(shared_data)[0]:
        (meter,) = run_called(found, expected["run"]).meters
        total = meter.log.readings.filter(phase=0)
        watts = total["power_watts"]
        assert (watts.len(), watts.min(), watts.max()) == (
            expected["samples"],
            expected["all_min"],
            expected["all_max"],
        )
        channels = meter.log.readings.filter(pl.col("phase") > 0).group_by("time").agg(pl.col("power_watts").sum())
        apart = total.join(channels, on="time").select(
            (pl.col("power_watts") - pl.col("power_watts_right")).abs().max()
        )
        assert apart.item() == pytest.approx(expected["max_abs_W_minus_sum_channels"], abs=1e-9)


def test_number_and_start_of_the_episodes(found: Found, shared_data: Path) -> None:
    for expected in reference(shared_data)[0]:
        (meter,) = run_called(found, expected["run"]).meters
        over = meter.log.readings.filter(phase=0).with_columns(TIME, over=pl.col("power_watts") > ABOVE_WATTS)
        starts = over.filter(pl.col("over") & ~pl.col("over").shift(fill_value=False))["time"]
        assert starts.len() == expected["episodes"]
        assert starts.min() == (moment(expected["first_over"]) if expected["first_over"] else None)


def test_declared_energies_of_the_training_jobs(found: Found, shared_data: Path) -> None:
    for expected in reference(shared_data)[1]:
        run = run_called(found, expected["run"])
        spans = [span for meter in run.meters for span in meter.spans]
        kwh = sum(_mean_times_span(meter) for meter in run.meters)
        assert kwh == pytest.approx(expected["kwh_mean_x_span"], abs=1e-4)
        assert kwh == pytest.approx(declared_kwh(expected), abs=0.012)
        assert min(span.started for span in spans) == expected["start_ms"] * 1000
        assert max(span.ended for span in spans) == expected["stop_ms"] * 1000


def test_counts_and_extremes_of_the_training_jobs(found: Found, shared_data: Path) -> None:
    for expected in reference(shared_data)[1]:
        run = run_called(found, expected["run"])
        watts = pl.concat([meter.log.readings["power_watts"] for meter in run.meters])
        assert (watts.len(), watts.min(), watts.max()) == (expected["readings"], expected["min_W"], expected["max_W"])


def _mean_times_span(meter) -> float:
    (span,) = meter.spans
    within = meter.log.readings.filter(pl.col("time").dt.epoch("us").is_between(*span))["power_watts"]
    return within.mean() * (span.ended - span.started) / 3.6e12
