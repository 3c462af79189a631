"""What the evaluator cannot tell rightly it asks to be recomputed: contradictions, and what came after all else."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from schemas.partial import PARTIAL, Envelope
from schemas.registry import Registry, assign
from schemas.timeline import Timeline
from streams.evaluate import Evaluator
from streams.watches import Watches
from tests.schemas.small_facility import facility, site

START = 1_721_116_800_000_000
SECOND = 1_000_000
A, B = ("telemetry.power.v1", 0), ("telemetry.power.v1", 1)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return assign(facility(site({"r01": {"type": "box", "first": 1, "last": 3}})))


class Told:
    """An evaluator that is told of one meter in two partitions."""

    def __init__(self, registry: Registry) -> None:
        self.evaluator = Evaluator(Watches((), Timeline.always(registry)), [A, B])
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
