"""Live equals lake: whoever is killed, windows are what DuckDB makes of the raw rows, alerts those of a quiet run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import polars as pl
import pytest

from broker.embedded import EmbeddedKafka
from schemas.facility import load
from schemas.registry import Registry, assign
from streams.watch import Watch, watch
from tests.streams.live_equals_lake.campus_log import CALM_SECS, CAMPUS, RULES, START, campus_log
from tests.streams.live_equals_lake.in_memory import Logs, Undisturbed, disturbed, logs_of
from tests.streams.live_equals_lake.live import (
    Kills,
    live_through_kills,
    publish_campus,
    raw_logs,
    told_alerts,
    told_windows,
)
from tests.streams.live_equals_lake.reference import differences, lake_of, raw_rows, reference
from tests.streams.live_equals_lake.worker import place_of_what_is_closed
from tests.streams.rules.without import fails_without

KILLS = 20
SOAK_ROUNDS = 10
"""Of KILLS kills each, every one with a log and a seed of its own."""


@pytest.fixture(scope="module")
def campus() -> Watch:
    return watch(RULES, assign(load(CAMPUS)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_windows_of_an_undisturbed_run_are_those_of_the_raw_rows(campus: Watch, seed: int) -> None:
    logs = logs_of(campus_log(campus.registry, 130, seed))
    run = Undisturbed(campus).read(logs, drains=9, seed=seed)
    assert run.roll_up.too_late()
    assert_told(pl.concat(run.windows), logs, campus.registry, end=START + 120)


@fails_without("streams.stream:Stream.place", place_of_what_is_closed, says="windows differ")
def test_lateness_duplicates_silences_skews_and_restarts_change_nothing() -> None:
    """The worker comes back from its last commit, the evaluator from its last snapshot, each several times."""
    watched = watch(RULES, assign(load(CAMPUS)))
    for seed in range(2):
        logs = logs_of(campus_log(watched.registry, 60, seed))
        windows, alerts = disturbed(watched, logs, seed)
        assert_told(windows, logs, watched.registry, end=START + 56)
        assert alerts == Undisturbed(watched).read(logs).told(), "other alerts than those of a quiet run"


def assert_told(told: pl.DataFrame, logs: Logs, registry: Registry, *, end: int) -> None:
    """Compare the greatest version of each window that ends by `end` with the raw rows, bit for bit."""
    wanted = reference(lake_of(raw_rows(logs, registry)), registry)
    wrong = differences(told, wanted, end)
    assert wrong.is_empty(), f"{len(wrong)} windows differ, the first: {wrong.row(0, named=True)}"


def run_through_kills(kafka: EmbeddedKafka, folder: Path, kills: Kills, seed: int, rule: str = "revisable") -> None:
    """Kill so often, then compare windows and alerts."""
    seconds = CALM_SECS + 50 + 8 * kills.wanted
    end = START + seconds - 4

    async def run() -> Registry:
        registry = await publish_campus(kafka.bootstrap)
        log = campus_log(registry, seconds, seed)
        await live_through_kills(kafka.bootstrap, log, kills, folder, end=end, rule=rule)
        return registry

    registry = asyncio.run(run())
    logs = asyncio.run(raw_logs(kafka.bootstrap))
    assert_told(asyncio.run(told_windows(kafka.bootstrap)), logs, registry, end=end)
    wanted = Undisturbed(watch(RULES, registry)).read(logs).told()
    assert len(wanted) > 10 * len(RULES)
    assert asyncio.run(told_alerts(kafka.bootstrap)) == wanted


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
