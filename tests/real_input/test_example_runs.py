"""The recorded runs that come with the project: read as any other run is, against figures computed beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from sources.recorded.runs import Found, find

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "recorded"
FIGURES = json.loads((EXAMPLES / "figures.json").read_text())


@pytest.fixture(scope="module")
def found() -> Found:
    return find([EXAMPLES])


def test_both_runs_are_found_and_every_line_is_read(found: Found) -> None:
    training, inference = found.runs
    assert (training.format, inference.format) == ("mllog", "ptdaemon")
    assert training.name.endswith(FIGURES["training"]["run"])
    assert inference.name.endswith(FIGURES["inference"]["run"])
    assert sum(len(log.unread) for log in found.files) == 0


def test_the_inference_run(found: Found) -> None:
    expected, (meter,) = FIGURES["inference"], found.runs[1].meters
    (span,) = meter.spans
    total = meter.log.readings.filter(phase=0)
    within = total.filter(pl.col("time").dt.epoch("us").is_between(*span))["power_watts"]
    assert (total.height, within.len()) == (expected["samples"], expected["in_window"])
    assert within.mean() == pytest.approx(expected["mean_watts"], abs=1e-6)
    over = total.select((pl.col("power_watts") > expected["above_watts"]).rle()).unnest("power_watts")
    assert over["value"].sum() == expected["episodes"]


def test_the_training_run(found: Found) -> None:
    expected, run = FIGURES["training"], found.runs[0]
    watts = pl.concat([meter.log.readings["power_watts"] for meter in run.meters])
    assert (len(run.meters), watts.len()) == (expected["nodes"], expected["readings"])
    assert (watts.min(), watts.max()) == (expected["min_watts"], expected["max_watts"])
    spans = [span for meter in run.meters for span in meter.spans]
    assert min(span.started for span in spans) == expected["start_ms"] * 1000
    assert max(span.ended for span in spans) == expected["stop_ms"] * 1000


def test_the_example_stays_small() -> None:
    assert sum(path.stat().st_size for path in EXAMPLES.rglob("*") if path.is_file()) <= 100_000
