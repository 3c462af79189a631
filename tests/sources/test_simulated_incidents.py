"""Incidents: the truth file says what the frames contain, and the frames contain it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from simulated_facility import registry

from schemas.errors import ConfigurationError
from schemas.registry import Registry
from schemas.subject import MeterLevel, SubjectKind
from sources.simulated.campus import Campus, Second
from sources.simulated.incidents import KINDS
from sources.simulated.truth import write_truth

START = 1_772_355_600


@pytest.fixture(scope="module")
def facility(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return registry(tmp_path_factory.mktemp("facility"))


@pytest.fixture(scope="module")
def story(facility: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict], list[Second]]:
    """All incidents in three minutes, with the truths as read back from their file, by kind."""
    campus = Campus(facility, seed=3, start=START, incidents=KINDS)
    file = tmp_path_factory.mktemp("truth") / "truth.jsonl"
    write_truth(file, campus.truths)
    truths = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {truth["kind"]: truth for truth in truths}, [campus.second(START + second) for second in range(180)]


def seconds_of(truth: dict) -> tuple[int, int]:
    return tuple(int(datetime.fromisoformat(truth[name]).timestamp()) - START for name in ("starts", "ends"))


def metered(seconds: list[Second], facility: Registry, level: MeterLevel, subject: int) -> list[float | None]:
    """Return the sum of a subject's meters each second, None where none reported."""
    meters = facility.meters.filter((pl.col("level") == level) & (pl.col("subject") == subject))["meter"]
    rows = [s.power.filter(pl.col("meter").is_in(meters.implode()) & (pl.col("phase") == 0)) for s in seconds]
    return [row["power_watts"].sum() if len(row) else None for row in rows]


def test_every_incident_has_a_truth_with_a_cause_and_a_subject_of_its_own(
    story: tuple[dict[str, dict], list[Second]],
) -> None:
    truths, _ = story
    assert set(truths) == set(KINDS)
    for truth in truths.values():
        assert truth["cause"]["kind"] in {"job", "fault"}
        assert truth["cause"]["what"]
    assert len({truth["subject"] for truth in truths.values()}) == len(KINDS)


def test_the_rack_is_over_its_limit_within_half_a_minute_and_only_for_its_time(
    story: tuple[dict[str, dict], list[Second]], facility: Registry
) -> None:
    truth, seconds = story[0]["rack-over-limit"], story[1]
    rack = facility.id_of(SubjectKind.RACK, truth["subject"])
    watts = metered(seconds, facility, MeterLevel.RACK_INPUT, rack)
    over = [second for second, value in enumerate(watts) if value > truth["limit_watts"]]
    starts, ends = seconds_of(truth)
    assert starts == 15
    assert starts < over[0] < starts + 10
    assert ends - 1 <= over[-1] < ends + 5
    assert over == list(range(over[0], over[-1] + 1))
    assert max(watts) == pytest.approx(truth["peak_watts"], rel=0.01)
    assert truth["peak_watts"] > 1.04 * truth["limit_watts"]
    assert watts[-1] < 0.9 * truth["limit_watts"]


def test_the_rack_is_driven_by_its_gpus_and_the_job_of_the_truth(
    story: tuple[dict[str, dict], list[Second]], facility: Registry
) -> None:
    truth, seconds = story[0]["rack-over-limit"], story[1]
    rack = facility.id_of(SubjectKind.RACK, truth["subject"])
    starts, ends = seconds_of(truth)
    gpus = [second.gpu.filter(pl.col("rack") == rack)["power_watts"].sum() for second in seconds]
    assert gpus[starts + 30] > 3 * gpus[starts - 1]
    records = [
        (number, job)
        for number, second in enumerate(seconds)
        for job in second.jobs
        if job.job == truth["cause"]["job"]
    ]
    assert [(number, job.state) for number, job in records] == [(starts, "running"), (ends, "completed")]
    nodes = {allocation.node for allocation in records[0][1].allocations}
    assert all(node.startswith(truth["subject"] + "/") for node in nodes)
    assert len(nodes) == facility.racks.filter(pl.col("rack") == rack)["nodes"].item()


def test_the_feed_is_overloaded_by_racks_that_lost_their_other_side_and_keep_to_their_own_limits(
    story: tuple[dict[str, dict], list[Second]], facility: Registry
) -> None:
    truth, seconds = story[0]["feed-overload"], story[1]
    feed = facility.id_of(SubjectKind.FEED, truth["subject"])
    watts = metered(seconds, facility, MeterLevel.FEED, feed)
    over = [second for second, value in enumerate(watts) if value > truth["limit_watts"]]
    starts, ends = seconds_of(truth)
    assert starts < over[0] < starts + 10
    assert ends - 1 <= over[-1] < ends + 5
    assert over == list(range(over[0], over[-1] + 1))
    assert max(watts) == pytest.approx(truth["peak_watts"], rel=0.01)
    twin = facility.feeds.filter(pl.col("feed") == feed)["twin"].item()
    lost = metered(seconds, facility, MeterLevel.FEED, twin)
    assert min(lost) == lost[starts + 20] == 0.0
    limits = dict(facility.limits.filter(pl.col("limit") == "budget").select("id", "watts").iter_rows())
    for rack in facility.feed_racks.filter(pl.col("feed") == feed)["rack"]:
        assert max(metered(seconds, facility, MeterLevel.RACK_INPUT, rack)) < 0.95 * limits[rack]


def test_the_silent_rack_is_missing_and_not_zero_while_its_feeds_still_carry_it(
    story: tuple[dict[str, dict], list[Second]], facility: Registry
) -> None:
    truth, seconds = story[0]["silent-rack"], story[1]
    rack = facility.id_of(SubjectKind.RACK, truth["subject"])
    starts, ends = seconds_of(truth)
    inputs = metered(seconds, facility, MeterLevel.RACK_INPUT, rack)
    gpus = [second.gpu.filter(pl.col("rack") == rack).height for second in seconds]
    assert [second for second, value in enumerate(inputs) if value is None] == list(range(starts, ends))
    assert [second for second, count in enumerate(gpus) if count == 0] == list(range(starts, ends))
    assert len(seconds[starts].gpu) == len(seconds[0].gpu) - gpus[0]
    feed = facility.feed_racks.filter(pl.col("rack") == rack)["feed"][0]
    on_feed = facility.meters.filter((pl.col("level") == MeterLevel.RACK_INPUT) & (pl.col("feed") == feed))["meter"]
    heard = [s.power.filter(pl.col("meter").is_in(on_feed.implode()))["power_watts"].sum() for s in seconds]
    carried = metered(seconds, facility, MeterLevel.FEED, feed)
    unseen = [whole / 1.006 - part for whole, part in zip(carried, heard, strict=True)]
    assert max(abs(watts) for watts in unseen[:starts] + unseen[ends:]) < 0.005 * max(carried)
    assert min(unseen[starts:ends]) > 5_000


def test_counters_of_a_silent_rack_have_run_on_when_it_is_heard_again(
    story: tuple[dict[str, dict], list[Second]], facility: Registry
) -> None:
    truth, seconds = story[0]["silent-rack"], story[1]
    rack = facility.id_of(SubjectKind.RACK, truth["subject"])
    starts, ends = seconds_of(truth)
    before = seconds[starts - 1].gpu.filter(pl.col("rack") == rack)
    after = seconds[ends].gpu.filter(pl.col("rack") == rack)
    gained = (after["energy_joules"] - before["energy_joules"]) / (ends - starts + 1)
    assert (gained > 0.5 * before["power_watts"].min()).all()


def test_an_incident_that_nothing_can_suffer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no feed of the facility can be overloaded"):
        Campus(registry(tmp_path, power=False), seed=1, start=START, incidents=["feed-overload"])
