"""What the evaluator cannot tell rightly it asks to be recomputed: contradictions, and what came after all else."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import polars as pl
import pytest

from schemas.partial import PARTIAL, Envelope
from schemas.registry import Registry, assign
from schemas.timeline import Timeline
from streams import evaluate_app, snapshot
from streams.evaluate import Evaluator
from streams.watches import Watches
from tests.schemas.small_facility import facility, site
from tests.streams.test_turns_of_evaluate import closing, staged

START = 1_721_116_800_000_000
SECOND = 1_000_000
A, B = ("telemetry.power.v1", 0), ("telemetry.power.v1", 1)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return assign(facility(site({"r01": {"type": "box", "first": 1, "last": 3}})))


class Told:
    """An evaluator that is told of one meter in two partitions."""

    def __init__(self, registry: Registry) -> None:
        self.watches = Watches((), Timeline.always(registry))
        self.evaluator = Evaluator(self.watches, [A, B])
        self._offset = 0

    def say(
        self,
        kind: Any,
        second: int,
        *,
        meter: int = 1,
        readings: int = 1,
        digest: int = 7,
        stream: Any = A,
        rows: int = 1,
    ) -> list[str]:
        """Say a second of one meter; return the kinds of windows of a second that this leads to."""
        start = START + second * SECOND
        nothing = dict.fromkeys(PARTIAL.polars) | {"utilization_count": 0}
        said = {"second": start, "subject_kind": 12, "power_milliwatts": digest, "expected": 1, "reporting": 1}
        row = nothing | said | {"subject": meter, "readings": readings, "digest": digest}
        envelope = Envelope(*stream, 0, self._offset, kind, start, start + SECOND, start + SECOND)
        self.evaluator.take(self._offset, envelope, pl.DataFrame([row] * rows, PARTIAL.polars))
        self._offset += 1
        return [each.kind for each in self.evaluator.close().windows if each.every_seconds == 1 and len(each.rows)]

    def asked(self) -> list[tuple[str, int, int]]:
        asks = self.evaluator.sums.asks()
        return [(a.reason, (a.first_second - START) // SECOND, (a.end_second - START) // SECOND) for a in asks]


@pytest.fixture
def told(registry: Registry) -> Told:
    told = Told(registry)
    told.say("closing", 0, stream=B, rows=0)
    told.say("closing", 0)
    return told


def test_a_worker_that_says_the_same_again_changes_nothing(told: Told) -> None:
    assert told.say("closing", 0) == []
    assert told.say("closing", 0, readings=0, digest=0) == []  # an earlier, poorer version
    assert told.asked() == []


def test_two_workers_with_different_halves_of_a_second_are_a_conflict(told: Told) -> None:
    assert told.say("closing", 0, digest=8) == ["revision"]
    assert told.asked() == [("conflict", 0, 1)]
    assert told.asked() == []


def test_a_fuller_closing_of_the_same_second_revises_it(told: Told) -> None:
    assert told.say("closing", 0, readings=2, digest=15) == ["revision"]
    assert told.say("revision", 0, readings=2, digest=16) == ["revision"]
    assert told.asked() == [("conflict", 0, 1)]


@pytest.mark.parametrize(("digest", "asked"), [(7, []), (8, [("conflict", 1, 2)])])
def test_a_meter_in_two_partitions_is_a_conflict_where_each_lacks_what_the_other_has(
    told: Told, digest: int, asked: list[tuple[str, int, int]]
) -> None:
    """Two collectors that send the same readings are none."""
    told.say("closing", 1, digest=digest, stream=B)
    assert told.say("closing", 1) == ["closing"]
    assert told.asked() == asked


def test_what_comes_after_its_second_is_forgotten_is_asked_for(told: Told) -> None:
    for second in range(1, 202):
        told.say("closing", second, stream=B, rows=0)
        told.say("closing", second)
    assert told.say("closing", 0) == []
    assert told.asked() == []
    assert told.say("revision", 3, readings=9) == []
    assert told.asked() == [("late", 3, 4)]


def test_seconds_that_a_stream_passed_over_are_asked_for(told: Told) -> None:
    """A worker closes one second after the other: between two that do not meet, what it said is gone."""
    told.say("closing", 7)
    assert told.asked() == [("lost", 1, 7)]
    told.say("closing", 1, stream=B)
    assert told.asked() == []


def test_what_a_lost_log_of_partials_may_have_revised_or_closed_is_asked_for(told: Told) -> None:
    for second in range(1, 20):
        told.say("closing", second, stream=B)
        told.say("closing", second)
    told.evaluator.lose("windows.rack.v1", 0, 1_000)
    assert told.asked() == [("lost", 0, 20)]  # from the start of a minute
    told.say("closing", 25)
    told.say("closing", 23, stream=B)
    assert told.asked() == [("lost", 20, 25)]


def test_a_restart_that_finds_its_log_cut_asks_for_all_between_what_was_told_and_where_it_goes_on(told: Told) -> None:
    """Fails where the bounds are those of the place that is gone: there nobody had closed anything yet."""
    for second in range(1, 20):
        told.say("closing", second, stream=B)
        told.say("closing", second)
    found = snapshot.decode(snapshot.take(told.evaluator, {}).encode())
    told.evaluator = snapshot.restore(found, told.watches, [A, B]).evaluator
    told.evaluator.lose("windows.rack.v1", 0, 1_000)
    told.say("closing", 25)
    told.say("closing", 23, stream=B)
    assert told.asked() == [("lost", 0, 25)]


def test_a_stream_that_was_idle_when_the_log_was_cut_begins_where_it_likes(told: Told) -> None:
    """Fails where it passes for one that closed what was told: a day of idleness would be recomputed."""
    idle = ("telemetry.power.v1", 2)
    told.evaluator = Evaluator(told.watches, [A, B, idle])
    told.say("idle", 20, stream=idle, rows=0)
    for second in range(20):
        told.say("closing", second, stream=B)
        told.say("closing", second)
    told.evaluator.lose("windows.rack.v1", 0, 1_000)
    for stream in (A, B):
        told.say("closing", 20, stream=stream)
    told.say("closing", 80_000, stream=idle)
    assert told.asked() == [("lost", 0, 20)]


@pytest.fixture
def asking() -> Any:
    """Return a stage that has to ask for seconds that were lost and asked for others a moment ago."""
    stage, kafka = staged()
    stage._asked_at, stage._written_at = time.monotonic(), -evaluate_app.SNAPSHOT_EVERY_SECS
    assert asyncio.run(stage.drain([closing(0, 0), closing(1, 7)])) == {}
    kafka.sent.clear()
    return stage, kafka


def test_no_snapshot_is_written_past_what_is_still_to_be_asked_for(asking: Any) -> None:
    """Fails where a kill within ten seconds of the last request would leave the seconds unasked for."""
    stage, kafka = asking
    assert asyncio.run(stage.drain([])) == {}
    assert kafka.sent == []
    stage._asked_at -= evaluate_app.ASK_EVERY_SECS
    assert asyncio.run(stage.drain([]))
    assert kafka.sent == ["recomputations.v1", "alerts.state.v1"]


def test_one_that_is_asked_to_end_asks_first(asking: Any) -> None:
    stage, kafka = asking
    stage._open = AsyncExitStack()
    asyncio.run(stage.close())
    assert kafka.sent == ["recomputations.v1", "alerts.state.v1"]
