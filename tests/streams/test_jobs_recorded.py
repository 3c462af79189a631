"""A real run of MLPerf as a job: the power of its node as that of one GPU; the windows come to the published energy."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from schemas.registry import assign
from schemas.subject import SubjectKind
from sources.recorded.replay import record
from sources.recorded.runs import find
from sources.recorded.site import derive, place
from tests.streams.job_world import Reading, Said, World
from tests.streams.log import SECOND

JOULES_A_KWH = 3.6e6


def micros(said: str) -> int:
    return round(datetime.fromisoformat(said).replace(tzinfo=UTC).timestamp() * SECOND)


@pytest.mark.parametrize("name", ["dlrm-v2-99/Server"])
def test_a_jobs_windows_come_to_the_energy_of_the_reference(shared_data: Path, name: str) -> None:
    run = next(r for r in json.loads((shared_data / "reference.json").read_text())["mlperf_infer"] if r["run"] == name)
    runs = find([shared_data / "mlperf-infer-h200" / name]).runs
    registry = assign(derive(place(each, meter) for each in runs for meter in each.meters))
    rows = record(runs, registry.ids(SubjectKind.METER)).readings.filter(phase=0)
    base = int(rows["time"].to_physical().min()) // SECOND * SECOND  # type: ignore[operator]
    readings = [
        [Reading((at - base) / SECOND, 1, 1, 0, round(watts * 10))]
        for at, watts in rows.select(pl.col("time").to_physical(), "power_watts").iter_rows()
    ]
    begin, end = ((micros(run[each]) - base) / SECOND for each in ("job_begin_utc", "job_end_utc"))
    said = Said("mlperf", begin, end, (1,), (0, 0))
    world = World([readings, []], [said])
    world.hear(1)
    seconds = world.to_the_end().jobs().filter(every_seconds=1)
    assert abs(len(seconds) - run["job_s"]) <= 1
    # A second between two readings has none, and no energy: what is summed is the mean of those that have.
    mean_watts = seconds["energy_joules"].sum() / seconds["energy_joules"].count()
    assert mean_watts * run["job_s"] / JOULES_A_KWH == pytest.approx(run["energy_kWh_mean_x_dur"], rel=0.002)
    assert seconds["reporting"].sum() > 0.9 * len(seconds)
