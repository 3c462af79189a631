"""The recipes of docs/queries.md, each on a lake whose answers are known."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from schemas.registry import assign
from schemas.subject import SubjectKind, gpu_subject
from sinks.sql.question import Lake
from tests.schemas.small_facility import powered
from tests.sql.test_views import append, publish, window

MINUTE = timedelta(minutes=1)
TEXT = (Path(__file__).resolve().parents[2] / "docs/queries.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.+?)\n.*?```sql\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL))
MINUTES = 9
RACKS = ("ruh/h1/r01/k01", "ruh/h1/r01/k02")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Return nine minutes that end now: two racks of 8 and 12 kW, the second of 19 kW in its fifth minute."""
    folder = tmp_path_factory.mktemp("lake")
    registry = assign(powered())
    publish(folder, registry)
    now = datetime.now(UTC).replace(tzinfo=None, second=0, microsecond=0)
    starts = [now - MINUTE * (MINUTES - n) for n in range(MINUTES)]
    node = registry.id_of(SubjectKind.NODE, f"{RACKS[0]}/n01")
    rows = []

    def told(kind: SubjectKind, subject: int, start: datetime, watts: float, **more: object) -> None:
        rows.append(window(window_start=start, every_seconds=60, subject_kind=int(kind), subject=subject,
                           power_watts=watts, energy_joules=watts * 60, **more))  # fmt: skip

    for n, start in enumerate(starts):
        racks = (8_000.0, 19_000.0 if n == 4 else 12_000.0)
        for path, watts in zip(RACKS, racks, strict=True):
            silent = {"reporting": 1} if (path, n) == (RACKS[0], 2) else {}
            told(SubjectKind.RACK, registry.id_of(SubjectKind.RACK, path), start, watts, **silent)
        told(SubjectKind.HALL, registry.id_of(SubjectKind.HALL, "ruh/h1"), start, sum(racks))
        told(SubjectKind.SITE, registry.id_of(SubjectKind.SITE, "ruh"), start, sum(racks) * 1.25)
        for side, share in (("a", 0.25), ("b", 0.75)):
            told(SubjectKind.FEED, registry.id_of(SubjectKind.FEED, f"ruh/feed-{side}"), start, sum(racks) * share)
        told(SubjectKind.JOB, 77, start, 3_000.0, version_facility=1)
        for gpu, used in ((0, 0.9), (1, 0.01), (2, 0.01)):
            told(SubjectKind.GPU, gpu_subject(node, gpu), start, 100.0 + gpu, utilization_fraction=used)
    append(folder, "windows_1m", *rows)
    held = {"node": node, "path": f"{RACKS[0]}/n01", "gpu_first": 0, "gpu_last": 1}
    append(folder, "jobs", {"site": "ruh", "job": "j1", "state": "running", "allocations": [held], "_offset": 0})
    progress = [{"job": "j1", "time": starts[n], "images": n * 100, "_offset": n} for n in (0, 8)]
    append(folder, "progress", *progress)
    of_gpu = {"rack": registry.id_of(SubjectKind.RACK, RACKS[0]), "node": node, "power_deciwatts": 7000}
    readings = [{**of_gpu, "time": start, "gpu": gpu, "throttle_reasons": int(gpu == 1 and n < 3), "_offset": n}
                for gpu in range(3) for n, start in enumerate(starts)]  # fmt: skip
    append(folder, "gpu", *readings)
    append(
        folder,
        "power",
        *({"meter": 1, "phase": 0, "time": start, "power_watts": 5.0 * n} for n, start in enumerate(starts)),
    )
    alert = {
        "id": "x",
        "rule": "rack-over",
        "subject": RACKS[1],
        "start": starts[4],
        "at": starts[4],
        "fired": starts[4],
    }
    append(folder, "alerts", {**alert, "transition": "firing", "value": 19_000.0, "limit": 18_000.0})
    return Lake(folder)


SITE_PEAK = 27_000.0 * 1.25
KNOWN = {
    "Headroom now": [("hall", "ruh/h1", 20_000.0), ("feed", "ruh/feed-b", 15_000.0), ("feed", "ruh/feed-a", 5_000.0)],
    "Racks closest to their limit": [(RACKS[1], 19_000.0, 20_000.0, 0.95), (RACKS[0], 8_000.0, 20_000.0, 0.4)],
    "If one of a pair of feeds fails": [("ruh/feed-a", 20_000.0), ("ruh/feed-b", 20_000.0)],
    "What does not report": [(RACKS[0], 1, 1, 2)],
    "Alerts of the day": [("rack-over", None, RACKS[1])],
    "Energy per job": [("ruh/j1", MINUTES * 3_000 * 60 / 3.6e6, 3_000.0, MINUTES)],
    "Energy per image and per second of video": [("j1", 8 * 180_000.0, 8 * 180_000 / 800, None)],
    "Idle GPUs of a job": [("j1", f"{RACKS[0]}/n01/gpu1", pytest.approx(0.01), 101.0)],
    "Throttled GPUs": [(RACKS[0], f"{RACKS[0]}/n01", 1, 3 / MINUTES)],
    "Peak of the day": [("ruh", SITE_PEAK)],
    "Stranded capacity": [("ruh", 2, 40_000.0, 27_000.0, 13_000.0)],
    "Growth": [("ruh", 2, SITE_PEAK, SITE_PEAK / 2, 8_888.0)],
    "Carbon": [("ruh", pytest.approx((8 * 25_000 + SITE_PEAK) * 60 / 3.6e6))],
}
PICKED = {"Headroom now": (0, 1, 3)}
"""Columns of answers that are compared where it is not the first ones."""


def test_every_recipe_has_a_known_answer() -> None:
    assert set(RECIPES) == set(KNOWN)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_the_known_answer(lake: Lake, name: str) -> None:
    rows = lake.answer(lake.ask(RECIPES[name])).fetchall()
    columns = PICKED.get(name, range(len(KNOWN[name][0])))
    seen = [tuple(row[column] for column in columns) for row in rows]
    if name in ("Headroom now", "If one of a pair of feeds fails"):
        assert sorted(seen) == sorted(KNOWN[name])
    else:
        assert seen == KNOWN[name]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_needs_no_since_to_read_its_hours_only(lake: Lake, name: str) -> None:
    """Everything but the job records, which are few, is bounded by the question."""
    asked = lake.ask(RECIPES[name])
    assert asked.files is not None
    assert asked.files


def test_headroom_is_by_the_tightest_limit(lake: Lake) -> None:
    rows = lake.answer(lake.ask(RECIPES["Headroom now"])).fetchall()
    for _, _, _, power, limit, headroom, _ in rows:
        assert headroom is None if limit is None else headroom == limit - power
    assert any(limit is not None for _, _, _, _, limit, _, _ in rows)


def test_polars_reads_the_same_sums_from_the_same_tables(lake: Lake) -> None:
    pairs = {"power": "sum(power_watts)", "windows_1m": "sum(energy_joules)", "gpu": "sum(power_deciwatts)"}
    for table, total in pairs.items():
        column = total[4:-1]
        of_polars = pl.scan_delta(str(lake.folder / table)).select(pl.col(column).sum(), pl.len()).collect().row(0)
        of_duckdb = lake.connection.execute(f"SELECT {total}, count(*) FROM raw.{table}").fetchall()[0]
        assert of_polars == of_duckdb
