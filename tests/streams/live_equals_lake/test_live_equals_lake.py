"""Live equals lake: whoever is killed, windows are what DuckDB makes of the raw rows, alerts those of a quiet run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import polars as pl
import pytest

from broker.embedded import EmbeddedKafka
from schemas.facility import load
from schemas.registry import Registry, assign
from streams import sum_rules
from streams.watch import Watch, watch
from tests.streams.live_equals_lake.campus_log import CALM_SECS, CAMPUS, RULES, START, campus_log
from tests.streams.live_equals_lake.in_memory import Logs, Undisturbed, disturbed, logs_of
from tests.streams.live_equals_lake.lake_beside import lake_beside
from tests.streams.live_equals_lake.live import (
    Kills,
    live_through_kills,
    publish_campus,
    raw_logs,
    send_jobs,
    told_alerts,
)
from tests.streams.live_equals_lake.reference import (
    Reference,
    differences,
    differing_bins,
    lake_of,
    raw_rows,
    reference,
)
from tests.streams.live_equals_lake.worker import place_of_what_is_closed
from tests.streams.rules.without import fails_without

KILLS = 20
SOAK_ROUNDS = 10
"""Of KILLS kills each, every one with a log and a seed of its own."""


@pytest.fixture(scope="module")
def campus() -> Watch:
    return watch(RULES, assign(load(CAMPUS)))


@pytest.mark.parametrize(("seed", "away"), [(1, range(0)), (2, range(0)), (3, range(30, 75))])
def test_windows_of_an_undisturbed_run_are_those_of_the_raw_rows(campus: Watch, seed: int, away: range) -> None:
    """Once all collectors are away for so long that no reading holds."""
    logs = logs_of(each for each in campus_log(campus.registry, 130, seed) if int(each.at) not in away)
    run = Undisturbed(campus).read(logs, drains=9, seed=seed)
    assert run.roll_up.too_late()
    told = run.all_told()
    assert_told(told.windows, told.histograms, of_logs(logs, campus.registry), end=START + 120)


@fails_without("streams.stream:Stream.place", place_of_what_is_closed, says="windows differ")
def test_lateness_duplicates_silences_skews_and_restarts_change_nothing() -> None:
    """The worker comes back from its last commit, the evaluator from its last snapshot, each several times."""
    watched = watch(RULES, assign(load(CAMPUS)))
    for seed in range(2):
        logs = logs_of(campus_log(watched.registry, 60, seed))
        told = disturbed(watched, logs, seed)
        assert_told(told.windows, told.histograms, of_logs(logs, watched.registry), end=START + 56)
        assert told.alerts == Undisturbed(watched).read(logs).told(), "other alerts than those of a quiet run"


def test_minutes_are_told_whole_where_a_restart_closes_their_seconds_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails where a revised minute is told before all of it is closed again: it was told without the revision."""
    monkeypatch.setattr(sum_rules, "ROWS_AT_ONCE", 1)
    watched = watch(RULES, assign(load(CAMPUS)))
    logs = logs_of(campus_log(watched.registry, 100, 1))
    told = disturbed(watched, logs, 1)
    assert_told(told.windows, told.histograms, of_logs(logs, watched.registry), end=START + 96)


def of_logs(logs: Logs, registry: Registry) -> Reference:
    """Return what the raw rows of logs in memory come to."""
    return reference(lake_of(raw_rows(logs, registry)), registry)


def assert_told(windows: pl.DataFrame, histograms: pl.DataFrame, wanted: Reference, *, end: int) -> None:
    """Compare the greatest version of each window and histogram that ends by `end` with the raw rows, bit for bit."""
    wrong = differences(windows, wanted.windows, end)
    which = wrong.select("window_start", "every_seconds", "subject_kind", "subject").rows()[:20]
    assert wrong.is_empty(), f"{len(wrong)} windows differ, the first: {wrong.row(0, named=True)}; of {which}"
    wrong = differing_bins(histograms, wanted.histograms, end)
    assert wrong.is_empty(), f"{len(wrong)} bins of histograms differ, the first: {wrong.row(0, named=True)}"


def run_through_kills(kafka: EmbeddedKafka, folder: Path, kills: Kills, seed: int, rule: str = "revisable") -> None:
    """Kill so often, then compare windows and alerts; raw rows and windows are those that a lake's tables hold."""
    seconds = CALM_SECS + 50 + 8 * kills.wanted
    end = START + seconds - 4
    registry = asyncio.run(publish_campus(kafka.bootstrap))
    asyncio.run(send_jobs(kafka.bootstrap, registry))
    log = campus_log(registry, seconds, seed)
    with lake_beside(kafka.bootstrap, folder / "lake") as lake:
        asyncio.run(live_through_kills(kafka.bootstrap, log, kills, folder, end=end, rule=rule))
        lake.caught_up()
    wanted = reference(lake_of(lake.raw()), registry)
    assert_told(lake.windows(), lake.histograms(), wanted, end=end)
    undisturbed = Undisturbed(watch(RULES, registry)).read(asyncio.run(raw_logs(kafka.bootstrap))).told()
    assert len(undisturbed) > 10 * len(RULES)
    assert asyncio.run(told_alerts(kafka.bootstrap)) == undisturbed


def test_kills_change_no_window_and_no_alert(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    run_through_kills(fresh_kafka, tmp_path, Kills(KILLS, seed=1), seed=1)


def test_committing_what_is_closed_would_break_it(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """The rule is to commit what can no longer be revised. The victims here live long enough to commit anything."""
    kills = Kills(3, seed=1, lives=(2.5, 3.5))
    with pytest.raises(AssertionError, match="windows differ"):
        run_through_kills(fresh_kafka, tmp_path, kills, seed=1, rule="closed")


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 100 + SOAK_ROUNDS))
def test_many_kills_change_no_window_and_no_alert(fresh_kafka: EmbeddedKafka, tmp_path: Path, seed: int) -> None:
    run_through_kills(fresh_kafka, tmp_path, Kills(KILLS, seed), seed)
