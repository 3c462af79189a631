"""A facility that changes live: each second is told by the version in force in it, and nothing else matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.partial import PARTIAL
from schemas.subject import SubjectKind
from schemas.timeline import FOREVER, Published, Timeline
from streams.in_force import InForce
from streams.reading_rules import ReadingRules
from tests.streams.changing import (
    FIRST,
    METER_TOPIC,
    SECOND,
    START,
    STREAMS,
    Change,
    Log,
    Plan,
    Reading,
    Workers,
    busy,
    by_epochs,
    cuts,
    second_of,
    versions,
)

LENGTH = 12
"""Seconds of the steady logs."""
BEFORE = Plan({"k01": ("r01", 1, 2, 20_000.0), "k02": ("r01", 1, 2, 20_000.0), "k03": ("r02", 2, 2, 20_000.0)})
JOINED = Plan({**BEFORE.racks, "k09": ("r01", 1, 2, 20_000.0)})
LEFT = Plan({name: rack for name, rack in BEFORE.racks.items() if name != "k02"})
OTHER_ROW = Plan({**BEFORE.racks, "k02": ("r02", 2, 2, 20_000.0)})
OTHER_FEED = Plan({**BEFORE.racks, "k02": ("r01", 2, 2, 20_000.0)})
MORE_GPUS = Plan({**BEFORE.racks, "k01": ("r01", 1, 3, 20_000.0)})
LOWER_LIMIT = Plan({**BEFORE.racks, "k01": ("r01", 1, 2, 9_000.0)})
CHANGES = {
    "a rack joins": JOINED,
    "a rack leaves": LEFT,
    "a rack moves to another row": OTHER_ROW,
    "a rack moves to another pair of feeds": OTHER_FEED,
    "a node gets one more GPU": MORE_GPUS,
    "a limit is lowered": LOWER_LIMIT,
}


def steady(timeline: Timeline, seconds: int, every: float = 0.5) -> Log:
    """Write logs in which every device of any version says the same power twice a second, from the first second on."""
    log: Log = {stream: [] for stream in STREAMS}
    registries = [epoch.registry for epoch in timeline.epochs]
    gpus = sorted({gpu for each in registries for gpu in each.slots.select("rack", "node", "gpu").iter_rows()})
    meters = sorted({meter for each in registries for meter in each.meters["meter"]})
    for step in range(round(seconds / every)):
        for (topic, number), messages in log.items():
            devices: list[Any] = [gpu for gpu in gpus if gpu[0] % 2 == number]
            if topic == METER_TOPIC:
                devices = [meter for meter in meters if meter // 3 % 2 == number]
            watts = 1_000.0 if topic != METER_TOPIC else 5_000.0
            messages.append(tuple(Reading(step * every + 0.25, each, watts) for each in devices))
    return log


def powers(workers: Workers, kind: SubjectKind, subject: int) -> dict[int, float | None]:
    """Return the power of a subject by second, without the seconds in which the last readings of the logs hold."""
    stand = workers.stand().filter((pl.col("subject_kind") == kind) & (pl.col("subject") == subject))
    stand = stand.filter(second_of(stand) < LENGTH)
    return dict(zip(second_of(stand), stand["power_watts"], strict=True))


def changed(plan: Plan, at: int = 6) -> tuple[list[Published], Timeline]:
    published = versions(BEFORE, [Change(at, plan)])
    return published, Timeline.of(published, "wall")


def test_a_rack_counts_from_its_second_on_in_every_sum_and_before_in_none() -> None:
    """It reports all the time, twice a second: before it is registered in mid-second, in that second, and after."""
    published, timeline = changed(JOINED)
    workers = Workers.begin(published, steady(timeline, LENGTH)).to_the_end()
    rack = timeline.newest.id_of(SubjectKind.RACK, "ruh/h1/r01/k09")
    row, feed = (timeline.newest.id_of(kind, path) for kind, path in
                 ((SubjectKind.ROW, "ruh/h1/r01"), (SubjectKind.FEED, "ruh/feed-1a")))  # fmt: skip
    assert rack and row and feed
    assert powers(workers, SubjectKind.RACK, rack) == dict.fromkeys(range(6, LENGTH), 10000.0)
    assert powers(workers, SubjectKind.ROW, row) == {s: 20_000.0 if s < 6 else 30_000.0 for s in range(LENGTH)}
    assert powers(workers, SubjectKind.FEED, feed) == {s: 10_000.0 if s < 6 else 15_000.0 for s in range(LENGTH)}
    stand = workers.stand().filter(second_of(workers.stand()) < LENGTH)
    assert dict(zip(second_of(stand), stand["version_facility"], strict=True)) == {
        s: 1 + (s >= 6) for s in range(LENGTH)
    }


def test_a_rack_that_leaves_is_in_no_sum_from_its_second_on_though_its_last_reading_would_hold() -> None:
    published, timeline = changed(LEFT)
    workers = Workers.begin(published, steady(timeline, LENGTH)).to_the_end()
    registry = timeline.at(START)
    rack, row = registry.ids(SubjectKind.RACK)["ruh/h1/r01/k02"], registry.ids(SubjectKind.ROW)["ruh/h1/r01"]
    assert powers(workers, SubjectKind.RACK, rack) == dict.fromkeys(range(6), 10000.0)
    assert powers(workers, SubjectKind.ROW, row) == {s: 20_000.0 if s < 6 else 10_000.0 for s in range(LENGTH)}


def test_a_rack_that_moves_is_in_the_sums_of_its_old_row_and_feeds_until_its_second_and_then_in_the_new_ones() -> None:
    published, timeline = changed(OTHER_FEED)
    workers = Workers.begin(published, steady(timeline, LENGTH)).to_the_end()
    feeds = timeline.newest.ids(SubjectKind.FEED)
    assert powers(workers, SubjectKind.FEED, feeds["ruh/feed-1a"]) == {
        s: 10_000.0 if s < 6 else 5_000.0 for s in range(12)
    }
    assert powers(workers, SubjectKind.FEED, feeds["ruh/feed-2b"]) == {
        s: 5_000.0 if s < 6 else 10_000.0 for s in range(12)
    }
    rack = timeline.newest.ids(SubjectKind.RACK)["ruh/h1/r01/k02"]
    assert powers(workers, SubjectKind.RACK, rack) == dict.fromkeys(range(LENGTH), 10_000.0)


def test_a_gpu_that_is_added_to_a_node_is_expected_and_summed_from_its_second_on() -> None:
    published, timeline = changed(MORE_GPUS)
    workers = Workers.begin(published, steady(timeline, LENGTH))
    workers.to_the_end()
    rack = timeline.newest.ids(SubjectKind.RACK)["ruh/h1/r01/k01"]
    told = pl.concat([each.rows for each in workers.partials if each.envelope.record is PARTIAL])
    ours = told.filter((pl.col("subject_kind") == SubjectKind.RACK) & (pl.col("subject") == rack))
    seconds = (ours["second"].cast(pl.Int64) - START) // SECOND
    said = dict(zip(seconds, ours.select("expected", "power_milliwatts").rows(), strict=True))
    assert said == {s: (2, 2_000_000) if s < 6 else (3, 3_000_000) for s in range(LENGTH)}


def test_a_lower_limit_fires_at_its_second_and_a_higher_one_ends_it() -> None:
    published = versions(BEFORE, [Change(6, LOWER_LIMIT), Change(9, BEFORE)])
    workers = Workers.begin(published, steady(Timeline.of(published, "wall"), LENGTH)).to_the_end()
    told = [
        (alert.transition, (alert.at.timestamp() * SECOND - START) / SECOND, alert.limit)
        for alert in workers.told()
        if (alert.rule, alert.subject) == ("rack-high", "ruh/h1/r01/k01")
    ]
    assert told == [("firing", 6.25, 9_000.0), ("resolved", 9.25, 20_000.0)]


def test_an_alert_of_a_rack_that_leaves_ends() -> None:
    gone = Plan({name: rack for name, rack in LOWER_LIMIT.racks.items() if name != "k01"})
    published = versions(LOWER_LIMIT, [Change(6, gone)])
    workers = Workers.begin(published, steady(Timeline.of(published, "wall"), LENGTH)).to_the_end()
    ends = [alert for alert in workers.told() if alert.subject == "ruh/h1/r01/k01" and alert.rule == "rack-high"]
    assert [alert.transition for alert in ends] == ["firing", "resolved"]
    assert (ends[1].id, ends[1].at.timestamp() * SECOND - START) == (ends[0].id, 5.75 * SECOND)
    assert ends[1].summary.endswith("watches it no longer; the alert ends unresolved")


def test_a_minute_in_which_the_facility_changes_is_that_of_its_last_second() -> None:
    published, timeline = changed(JOINED, at=30)
    workers = Workers.begin(published, steady(timeline, 63, every=1.0)).to_the_end()
    rack = timeline.newest.ids(SubjectKind.RACK)["ruh/h1/r01/k09"]
    minute = workers.stand(every=60).filter(pl.col("window_start").cast(pl.Int64) == START)
    ours = minute.filter((pl.col("subject_kind") == SubjectKind.RACK) & (pl.col("subject") == rack))
    assert ours.select("power_watts", "energy_joules", "expected", "reporting", "version_facility").rows() == [
        (10_000.0, 300_000.0 - 2_500.0, 2, 0, 2)
    ]


@pytest.mark.parametrize("name", CHANGES)
def test_every_second_is_what_one_that_knows_only_its_facility_makes_of_it(name: str) -> None:
    published, timeline = changed(CHANGES[name], at=FIRST + 11)
    log = busy(timeline, seed=4)
    assert_frame_equal(Workers.begin(published, log).to_the_end().stand(), by_epochs(published, log))


def disturbed(published: list[Published], log: Log, seed: int) -> Workers:
    """Read the logs in random cuts, through kills of both workers, hearing of versions sooner or later."""
    draw, workers = np.random.default_rng(seed), Workers.begin(published, log)
    value = workers.snapshot() if seed % 2 else None
    for step in cuts(draw, 40):
        workers.roll(step["roll"])
        workers.evaluate(step["read"], step["partials"])
        if step["event"] == "hear":
            workers.hear()
        elif step["event"] == "commit":
            workers.commit()
        elif step["event"] == "snapshot" and workers.evaluator.is_settled:
            value = workers.snapshot()
        elif step["event"] == "kill" and draw.random() < 0.5:
            workers.restart_roll_up()
        elif step["event"] == "kill" and value is not None:
            workers.restart_evaluator(value)
    return workers.to_the_end()


def same(one: Workers, other: Workers) -> bool:
    return one.stand().equals(other.stand()) and one.stand(60).equals(other.stand(60)) and one.told() == other.told()


PLANS = st.sampled_from([BEFORE, *CHANGES.values()])


@given(st.lists(st.tuples(st.integers(2, 20), PLANS), min_size=1, max_size=3), st.integers(0, 10_000))
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_random_changes_drains_lateness_and_kills_tell_what_one_tells_that_reads_all_at_once(
    drawn: list[tuple[int, Plan]], seed: int
) -> None:
    changes = [Change(FIRST + at, plan) for at, plan in sorted(drawn, key=lambda each: each[0])]
    published = versions(BEFORE, changes)
    log = busy(Timeline.of(published, "wall"), seed)
    whole = Workers.begin(published, log).to_the_end()
    assert same(disturbed(published, log, seed), whole)
    assert_frame_equal(whole.stand(), by_epochs(published, log))


def from_now_on(self: InForce, timeline: Timeline, from_second: int) -> None:
    """The rule left out: a version counts from where a worker hears of it."""
    before = [(first, min(end, from_second), it) for first, end, it in self._spans if first < from_second]
    self._spans = [*before, (from_second, FOREVER // SECOND, timeline.newest)]


@pytest.mark.parametrize("rule", ["the second decides in roll up", "partitions wait for each other", ""])
def test_without_the_rule_what_is_told_depends_on_when_one_reads(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    if rule == "the second decides in roll up":
        monkeypatch.setattr(InForce, "follow", from_now_on)
    elif rule:
        monkeypatch.setattr(ReadingRules, "_hold", lambda self, readings: readings)
        monkeypatch.setattr(
            ReadingRules, "_has_reached", lambda self, second: (self.readings.watermark >= second).any()
        )
    published = versions(
        BEFORE, [Change(FIRST + 8, Plan(JOINED.racks | LOWER_LIMIT.racks)), Change(FIRST + 14, OTHER_FEED)]
    )
    differ = 0
    for seed in range(6):
        log = busy(Timeline.of(published, "wall"), seed)
        differ += not same(disturbed(published, log, seed), Workers.begin(published, log).to_the_end())
    assert (differ > 0) == bool(rule)
