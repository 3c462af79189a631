"""Episodes on recorded power of real machines, as shared/data/reference.json counts them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from schemas.admission import admit
from schemas.alert import Alert
from schemas.meter import METER
from schemas.registry import assign
from schemas.rule import Rule
from schemas.subject import SubjectKind
from sources.recorded.replay import record
from sources.recorded.runs import find
from sources.recorded.site import derive, place
from streams.evaluate import Evaluator
from streams.watch import watch

OVER = Rule(id="over-6000-watts", scope="rack", severity="warning", summary="{rack} draws {value}", above_watts=6_000.0)
STREAMS = [("telemetry.power.v1", 0)]


def told_of(runs_folder: Path, rows_a_drain: int) -> dict[str, list[Alert]]:
    """Return the transitions of each run, by its folder."""
    runs = find([runs_folder]).runs
    registry = assign(derive(place(run, meter) for run in runs for meter in run.meters))
    readings = record(runs, registry.ids(SubjectKind.METER)).readings
    placed = readings.with_columns(
        _partition=pl.lit(0, pl.Int32), _offset=pl.int_range(pl.len()) // 500, _row=pl.lit(0, pl.Int32),
        _appended=pl.col("time"), _name=pl.lit(None, pl.String),
    )  # fmt: skip
    rows = admit(METER, placed, registry, clock="event").rows
    evaluator = Evaluator(watch((OVER,), registry), STREAMS)
    alerts = [alert for part in rows.iter_slices(rows_a_drain) for alert in evaluator.read(part, {0: 1})]
    rack_of = {place(run, meter).measures: str(run.folder) for run in runs for meter in run.meters}
    found: dict[str, list[Alert]] = {folder: [] for folder in rack_of.values()}
    for alert in alerts:
        found[rack_of[alert.subject]].append(alert)
    return found


@pytest.mark.parametrize("rows_a_drain", [97, 1_000_000])
def test_number_and_start_of_the_episodes_are_those_of_the_reference(shared_data: Path, rows_a_drain: int) -> None:
    reference = json.loads((shared_data / "reference.json").read_text())["mlperf_infer"]
    told = told_of(shared_data / "mlperf-infer-h200", rows_a_drain)
    assert len(told) == len(reference) == 6
    for run in reference:
        folder = next(each for each in told if f"/{run['run']}/" in f"{each}/")
        firings = [alert for alert in told[folder] if alert.transition == "firing"]
        assert len(firings) == run["episodes"]
        if firings:
            assert firings[0].start == datetime.fromisoformat(run["first_over"]).replace(tzinfo=UTC)
            assert all(alert.start == alert.at == alert.fired for alert in firings)
