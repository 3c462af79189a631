"""Recorded runs through the real product, Kafka to SQL: published, declared and computed figures come out.

One pipeline replays the runs of examples/ and, where the folder `shared` is there, six MLPerf inference
runs and seven training jobs, all sorted by their own time. Nothing here or in the product knows the sets
beyond the format of their logs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real_input.pipeline import ROOT, Pipeline
from tests.real_input.reference import ABOVE_WATTS, SETS, declared_kwh, moment, reference

EXAMPLES = ROOT / "examples" / "recorded"
FIGURES = json.loads((EXAMPLES / "figures.json").read_text())


@pytest.fixture(scope="module")
def sets(request: pytest.FixtureRequest) -> list[Path]:
    """Return what is replayed; without `shared` that is the example alone (in CI its absence fails)."""
    try:
        shared = request.getfixturevalue("shared_data")
    except pytest.skip.Exception:
        return [EXAMPLES]
    return [EXAMPLES, *(shared / name for name in SETS)]


@pytest.fixture(scope="module")
def pipeline(sets: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("recorded")) as running:
        running.replay(*sets)
        running.wait(Pipeline.has_judged_all, "the run replayed last")
        yield running


def power_of(pipeline: Pipeline, job: str) -> tuple[Any, ...]:
    """Return (readings, least, greatest, Σ-of-channels error) over all of an inference run's log."""
    return pipeline.sql(
        """
        WITH log AS (SELECT * FROM power WHERE meter_id IN (
            SELECT unnest(measured).meter FROM jobs WHERE starts_with(job, ?)))
        SELECT count(*) FILTER (phase = 0), min(power_watts) FILTER (phase = 0), max(power_watts) FILTER (phase = 0),
               (SELECT max(abs(watts)) FROM (
                   SELECT sum(CASE WHEN phase = 0 THEN -power_watts ELSE power_watts END) AS watts
                   FROM log GROUP BY time HAVING count(*) > 1))
        FROM log
        """,
        job,
    )[0]


def episodes_of(pipeline: Pipeline, job: str) -> tuple[int, Any]:
    """Return (number, start of the first, in UTC) of the episodes of an inference run's rack."""
    return pipeline.sql(
        """
        SELECT count(*), min("start") FROM episodes
        WHERE rule = 'above-6-kw' AND subject_kind = 'rack' AND subject IN (
            SELECT subject FROM meters WHERE id IN (SELECT unnest(measured).meter FROM jobs WHERE starts_with(job, ?)))
        """,
        job,
    )[0]


def energy_of(pipeline: Pipeline, job: str) -> tuple[Any, ...]:
    """Return (meters, readings, kWh) of a job, by `mean_times_span`."""
    ((meters, readings, kwh, method),) = pipeline.sql(
        "SELECT meters_reporting, readings, energy_kwh, energy_method FROM job_energy WHERE starts_with(job, ?)", job
    )
    assert method == "mean_times_span"
    return meters, readings, kwh


def mean_of(pipeline: Pipeline, job: str) -> tuple[int, float]:
    """Return (readings, mean watts) of a job's one meter, between its markers."""
    query = "SELECT readings, mean_power_watts FROM job_meter_energy WHERE starts_with(job, ?)"
    return pipeline.sql(query, job)[0]


def test_published_mean_powers(pipeline: Pipeline, shared_data: Path) -> None:
    for expected in reference(shared_data)[0]:
        readings, mean = mean_of(pipeline, f"{expected['run']}/")
        assert readings == expected["in_window"]
        assert mean == pytest.approx(expected["published_avg_W"], abs=1e-6)


def test_counts_extremes_and_channels_of_the_inference_runs(pipeline: Pipeline, shared_data: Path) -> None:
    for expected in reference(shared_data)[0]:
        readings, least, greatest, apart = power_of(pipeline, f"{expected['run']}/")
        assert (readings, least, greatest) == (expected["samples"], expected["all_min"], expected["all_max"])
        assert apart == pytest.approx(expected["max_abs_W_minus_sum_channels"], abs=1e-9)


def test_number_and_start_of_the_episodes_above_6_kw(pipeline: Pipeline, shared_data: Path) -> None:
    for expected in reference(shared_data)[0]:
        assert expected["thr_W"] == ABOVE_WATTS
        number, first = episodes_of(pipeline, f"{expected['run']}/")
        assert number == expected["episodes"]
        assert first == (moment(expected["first_over"]).replace(tzinfo=None) if expected["first_over"] else None)


def test_declared_energies_of_the_training_jobs(pipeline: Pipeline, shared_data: Path) -> None:
    for expected in reference(shared_data)[1]:
        meters, readings, kwh = energy_of(pipeline, expected["run"])
        assert (meters, readings) == (expected["nodes"], expected["readings"])
        assert kwh == pytest.approx(declared_kwh(expected), abs=0.012)
        assert kwh == pytest.approx(expected["kwh_mean_x_span"], abs=1e-4)


def test_spans_and_extremes_of_the_training_jobs(pipeline: Pipeline, shared_data: Path) -> None:
    for expected in reference(shared_data)[1]:
        figures = pipeline.sql(
            """
            SELECT epoch_ms(min(started)), epoch_ms(max(ended)), min(min_power_watts), max(max_power_watts)
            FROM job_meter_energy WHERE starts_with(job, ?)
            """,
            expected["run"],
        )
        assert figures == [(expected["start_ms"], expected["stop_ms"], expected["min_W"], expected["max_W"])]


def test_the_example_gives_its_figures(pipeline: Pipeline) -> None:
    inference, training = FIGURES["inference"], FIGURES["training"]
    job = f"inference/{inference['run']}"
    assert mean_of(pipeline, job) == (inference["in_window"], pytest.approx(inference["mean_watts"], abs=1e-6))
    readings, least, greatest, apart = power_of(pipeline, job)
    assert (readings, least, greatest) == (inference["samples"], inference["min_watts"], inference["max_watts"])
    assert apart == pytest.approx(0, abs=1e-9)
    number, first = episodes_of(pipeline, job)
    assert (number, first.isoformat()) == (inference["episodes"], inference["first_over"])
    assert energy_of(pipeline, f"training/{training['run']}") == (
        training["nodes"],
        training["readings"],
        pytest.approx(training["kwh_mean_times_span"], abs=1e-5),
    )


def test_logs_in_the_wild_keep_zeros_and_glitches_and_only_a_negative_reading_is_refused(pipeline: Pipeline) -> None:
    """The span of a stop marker with the start's time ends at the last reading: 100 s."""
    meters, readings, kwh = energy_of(pipeline, pipeline.job_of(pipeline.wild))
    assert (meters, readings) == (1, 41)
    assert kwh == pytest.approx((10 * 5000 + 0 + 30 * 25_000) / 41 * 100 / 3.6e6)
    refused = pipeline.sql("SELECT reason, field, value FROM rejected")
    assert refused == [("out_of_range", "power_watts", "-42.0")]
    zero, most = pipeline.sql("SELECT count(*) FILTER (power_watts = 0), max(power_watts) FROM power")[0]
    assert (zero, most) == (1, 25_000)


def test_windows_of_the_training_jobs_add_up_to_their_energy(pipeline: Pipeline, shared_data: Path) -> None:
    """A run is a site; each node's last reading is held for 3 intervals of 2 s, and so is one before a gap."""
    pipeline.wait(Pipeline.has_closed_all, "the last second")
    for expected in reference(shared_data)[1]:
        ((kwh, most),) = pipeline.sql(
            """
            SELECT sum(energy_joules) / 3.6e6, max(reporting) FROM windows
            WHERE subject_kind = 'site' AND every_seconds = 1
              AND subject = (SELECT site FROM jobs WHERE starts_with(job, ?))
            """,
            expected["run"],
        )
        assert most == expected["nodes"]
        held = expected["nodes"] * expected["max_W"] * 6.1 / 3.6e6
        assert kwh == pytest.approx(expected["kwh_trapezoid"], abs=held)


def test_a_second_replay_doubles_nothing(pipeline: Pipeline, sets: list[Path]) -> None:
    """Identity makes it so: the lake holds every row twice, the views once; windows and episodes stay as they are."""
    counts = """
        SELECT (SELECT (count(*), sum(round(power_watts * 1000)::HUGEINT)) FROM power),
               (SELECT (count(*), sum(len(measured))) FROM jobs),
               (SELECT sum(round(energy_joules)::HUGEINT) FROM job_energy),
               (SELECT count(*) FROM episodes),
               (SELECT (count(*), sum(round(energy_joules * 1000)::HUGEINT)) FROM windows)
    """
    pipeline.wait(Pipeline.has_closed_all, "the last second")
    before, ((rows,),) = pipeline.sql(counts), pipeline.sql("SELECT count(*) FROM raw.power")
    pipeline.replay(*sets)
    pipeline.wait(lambda it: it.sql("SELECT count(*) FROM raw.power") == [(2 * rows,)], "the second replay")
    assert pipeline.sql(counts) == before
