"""Windows of jobs through both stages: by hand, and against a slow reference over random records and kills."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import polars as pl
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.job import job_subject
from schemas.subject import SubjectKind
from streams import late_spans
from tests.history.small_lake import START
from tests.streams.job_world import Reading, Said, World, expected, expected_minutes
from tests.streams.log import SECOND

RACK_OF = {1: 1, 2: 1, 3: 2, 4: 2}


@pytest.fixture(autouse=True, scope="module")
def _exact_stretches() -> Iterator[None]:
    """Ask for exactly what is needed: stretches that were joined would hide what was forgotten."""
    before, late_spans.GAP_SECS = late_spans.GAP_SECS, 0
    yield
    late_spans.GAP_SECS = before


def load(seconds: int, *, gpus: int = 8, watts: int = 1_000) -> list[list[list[Reading]]]:
    """Return the logs of both racks: a message a second, GPU n of node m drawing (watts + 10·m + n) · 0.1 W."""
    return [
        [[Reading(s + 0.5, r, m, n, watts + 10 * m + n) for m in nodes for n in range(gpus)] for s in range(seconds)]
        for r, nodes in ((1, (1, 2)), (2, (3, 4)))
    ]


def seconds_of(windows: pl.DataFrame) -> pl.DataFrame:
    """Return windows of one second as `expected` says them."""
    at = (pl.col("window_start").to_physical() - START) // SECOND
    chosen = windows.filter(every_seconds=1).select(
        at=at, subject=pl.col("subject").cast(pl.Int64), expected=pl.col("expected").cast(pl.Int64),
        reporting=pl.col("reporting").cast(pl.Int64), watts="power_watts",
    )  # fmt: skip
    return chosen.sort("at", "subject")


def minutes_of(windows: pl.DataFrame) -> pl.DataFrame:
    """Return windows of one minute as `expected_minutes` says them."""
    at = (pl.col("window_start").to_physical() - START) // (60 * SECOND)
    whole = (pl.col(name).cast(pl.Int64) for name in ("subject", "expected", "reporting"))
    watts = ("power_watts", "power_low_watts", "power_high_watts", "energy_joules")
    return windows.filter(every_seconds=60).select(at.alias("minute"), *whole, *watts).sort("minute", "subject")


def test_a_job_over_two_racks_by_hand() -> None:
    world = World(load(70), [Said("a", 3.0, 65.0, (2, 3), (0, 3))]).to_the_end()
    jobs = world.jobs()
    assert_frame_equal(seconds_of(jobs), expected(world.logs, [Said("a", 3.0, 65.0, (2, 3), (0, 3))], range(70)))
    second = jobs.filter(every_seconds=1).row(0, named=True)
    watts = sum(1_000 + 10 * m + n for m in (2, 3) for n in range(4)) / 10
    assert (second["power_watts"], second["energy_joules"], second["energy_method"]) == (watts, watts, 3)
    assert (second["power_low_watts"], second["power_high_watts"], second["power_basis"]) == (watts, watts, 2)
    assert (second["expected"], second["reporting"], second["version_facility"]) == (8, 8, 1)
    assert (second["utilization_fraction"], second["temperature_max_celsius"]) == (0.5, 40.0)
    minute = jobs.filter(every_seconds=60).row(0, named=True)
    assert (minute["power_watts"], minute["expected"], minute["reporting"]) == (watts, 8, 8)
    assert minute["energy_joules"] == pytest.approx(watts * 57)
    assert {each.site for each in world.windows} == {"ruh"}


def test_the_silent_draw_nothing_at_least_and_their_nameplates_at_most() -> None:
    logs = load(20, gpus=2)
    world = World(logs, [Said("a", 0.0, None, (1,), (0, 3)), Said("b", 0.0, None, (4,), (6, 7))]).to_the_end()
    windows = world.jobs().filter(every_seconds=1)
    one = windows.filter(subject=job_subject("ruh", "a")).row(0, named=True)
    watts = 202.1
    assert (one["power_watts"], one["power_low_watts"], one["power_high_watts"]) == (watts, watts, 1_602.1)
    silent = windows.filter(subject=job_subject("ruh", "b")).row(0, named=True)
    assert (silent["power_watts"], silent["power_low_watts"], silent["power_high_watts"]) == (None, 0, 2 * 700)
    assert (silent["expected"], silent["reporting"], silent["power_basis"]) == (2, 0, None)


def test_a_job_that_had_ended_is_withdrawn_from_the_seconds_after_its_end() -> None:
    world = World(load(70), [Said("a", 0.0, None, (1,), (0, 7)), Said("a", 0.0, 62.0, (1,), (0, 7))])
    world.hear(1)
    for partition in (0, 1):
        world.drain(partition, 68)
    world.commit()
    world.evaluate(10_000)
    assert seconds_of(world.jobs())["at"].max() == 66
    world.hear(2)
    world.tell(2)
    world.to_the_end()
    assert seconds_of(world.jobs())["at"].max() == 61
    gone = pl.concat([each.rows for each in world.windows]).filter(subject_kind=int(SubjectKind.JOB), expected=0)
    assert set((gone["window_start"].to_physical() - START) // SECOND) == {62, 63, 64, 65, 66}
    assert gone["version_facility"].unique().to_list() == [2]


def test_a_job_that_is_heard_of_late_has_its_windows_and_its_minute() -> None:
    world = World(load(75), [Said("a", 30.0, None, (1,), (0, 7))])
    for partition in (0, 1):
        world.drain(partition, 66)
    world.evaluate(10_000)
    assert world.jobs().is_empty()
    world.to_the_end()
    assert set(world.asked) == {(START + 30 * SECOND, START + 55 * SECOND)}
    assert seconds_of(world.jobs()).filter(pl.col("reporting") == 8)["at"].to_list() == list(range(55, 75))
    assert world.jobs().filter(every_seconds=60)["version_facility"].to_list()[0] == 1


def test_an_evaluator_that_comes_back_tells_what_records_changed_meanwhile() -> None:
    world = World(load(40), [Said("a", 0.0, None, (1,), (0, 7)), Said("a", 0.0, 34.0, (1,), (0, 7))])
    world.hear(1)
    for partition in (0, 1):
        world.drain(partition, 40)
    world.evaluate(10_000)
    world.snapshot()
    world.come_back(heard=2)
    world.evaluate(10_000)
    assert seconds_of(world.jobs())["at"].max() == 33


def random_logs(draw: Random, seconds: int) -> list[list[list[Reading]]]:
    logs: list[list[list[Reading]]] = [[], []]
    for second in range(seconds):
        for partition, nodes in ((0, (1, 2)), (1, (3, 4))):
            if second and draw.random() < 0.1:
                continue
            # Both begin at once: what lies before the first second of a partition was not read whole.
            late = draw.randrange(8) if second and draw.random() < 0.15 else 0
            at = max(0, second - late) + draw.randrange(100) / 100
            logs[partition].append([
                Reading(at, RACK_OF[node], node, gpu, draw.choice([None, draw.randrange(5_000)]))
                for node in nodes
                for gpu in draw.sample(range(8), draw.randrange(1, 5))
            ])  # fmt: skip
    return logs


def random_records(draw: Random, seconds: int) -> list[Said]:
    records = []
    for _ in range(draw.randrange(1, 9)):
        started = draw.randrange(-20, seconds) + draw.choice([0.0, 0.4])
        ended = draw.choice([None, round(started + draw.randrange(40) + draw.choice([0.0, 0.6]), 1)])
        nodes = tuple(draw.sample([1, 2, 3, 4], draw.randrange(1, 4)))
        first = draw.randrange(8)
        records.append(Said(draw.choice("abc"), started, ended, nodes, (first, draw.randrange(first, 8))))
    return records


def disturbed(draw: Random) -> tuple[World, list[Said]]:
    """Return a world after random records heard at random times, lateness, drains, kills from the last commits."""
    seconds = draw.randrange(20, 90)
    world = World(random_logs(draw, seconds), records := random_records(draw, seconds))
    heard = 0
    while any(read < len(log) for read, log in zip(world.read, world.logs, strict=True)):
        heard = min(len(records), heard + draw.choice([0, 0, 0, 1, 2]))
        happening = draw.random()
        world.hear(heard)
        world.drain(draw.randrange(2), draw.randrange(12))
        if happening < 0.3:
            world.commit()
        elif happening < 0.36:
            world.begin(heard)
        world.evaluate(draw.randrange(30))
        world.tell(draw.choice([0, heard]))
        if happening > 0.8:
            world.snapshot()
        elif happening > 0.74:
            world.come_back(heard)
    return world.to_the_end(), records


@settings(deadline=None, max_examples=40, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.integers(0, 1 << 32))
@example(724665)  # a record heard after the restart, of seconds told before it and after the snapshot
def test_windows_of_jobs_are_those_of_the_newest_records_whatever_happens(seed: int) -> None:
    world, records = disturbed(Random(seed))
    spoken = {int(r.at) for log in world.logs for message in log for r in message}
    mended = {s for first, end in world.asked for s in range((first - START) // SECOND, (end - START) // SECOND)}
    sure = sorted(spoken - mended)
    told = seconds_of(world.jobs()).filter(pl.col("at").is_in(sure))
    assert_frame_equal(told, expected(world.logs, records, sure))
    minutes = [m for m in range((max(spoken) + 1) // 60) if mended.isdisjoint(range(60 * m, 60 * m + 60))]
    told = minutes_of(world.jobs()).filter(pl.col("minute").is_in(minutes))
    assert_frame_equal(told, expected_minutes(world.logs, records, minutes))
