"""A ramp compares the same contributors at both ends; silence is no ramp."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.facility import Facility
from schemas.partial import PARTIAL, Envelope
from schemas.registry import assign
from schemas.rules import default_rules
from schemas.subject import SubjectKind
from streams.evaluate import Evaluator
from streams.lists import MISSING
from streams.members import Members, members_of
from streams.ramps import Ramp, RecentPower, ramp
from streams.watch import watch
from tests.schemas.small_facility import facility, site

START = 1_721_116_800_000_000
SECOND = 1_000_000
STREAM = ("telemetry.power.v1", 0)


def row_of_three() -> Facility:
    return facility(site({"r01": {"type": "box", "first": 1, "last": 3}}))


@pytest.fixture(scope="module")
def members() -> Members:
    return members_of(assign(row_of_three()))


def of_row(members: Members, found: Ramp) -> tuple[int, int, int]:
    where = int((members.subjects["subject_kind"] == SubjectKind.ROW).arg_true()[0])
    return int(found.change[where]), int(found.expected[where]), int(found.comparable[where])


def powers(members: Members, *of_meters: int | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return one power a source: those of the meters in order, of GPUs none."""
    is_meter = (members.sources["kind"] == SubjectKind.METER).to_numpy()
    dense = np.full(len(members.sources), MISSING)
    dense[is_meter] = [MISSING if power is None else power for power in of_meters]
    return dense


def test_a_rack_that_falls_silent_or_comes_back_is_no_ramp(members: Members) -> None:
    all_on = powers(members, 5, 5, 5, 5, 5, 5)
    one_off = powers(members, 5, 5, None, 5, 5, 9)
    assert of_row(members, ramp(members, all_on, one_off)) == (4, 6, 5)
    assert of_row(members, ramp(members, one_off, all_on)) == (-4, 6, 5)
    assert of_row(members, ramp(members, all_on, powers(members, *[None] * 6))) == (MISSING, 6, 0)


def test_spans_end_at_the_second_and_need_both_ends(members: Members) -> None:
    recent = RecentPower(members)
    for second in range(40):
        recent.keep(np.array([START + second * SECOND]), powers(members, *[second * 10] * 6)[None, :])
    found = recent.ramps(START + 39 * SECOND)
    assert {span: of_row(members, each)[0] for span, each in found.items()} == {1: 60, 5: 300, 30: 1800}
    assert set(recent.ramps(START + 20 * SECOND)) == {1, 5}
    assert recent.ramps(START + 99 * SECOND) == {}


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 10**9), st.none() | st.integers(0, 10**9)), min_size=6, max_size=6)
)
@settings(deadline=None)
def test_a_ramp_is_the_sum_over_those_present_at_both_ends(
    members: Members, ends: list[tuple[int | None, int | None]]
) -> None:
    before, after = (powers(members, *side) for side in zip(*ends, strict=True))
    both = [last - first for first, last in ends if first is not None and last is not None]
    assert of_row(members, ramp(members, before, after)) == (sum(both) if both else MISSING, 6, len(both))


def test_the_evaluator_tells_the_ramps_of_what_closed_and_of_what_was_revised() -> None:
    registry = assign(row_of_three())
    evaluator = Evaluator(watch(default_rules(), registry), [STREAM])

    def told(kind: Any, second: int, milliwatts: int) -> None:
        start = START + second * SECOND
        nothing = dict.fromkeys(PARTIAL.polars) | {"utilization_count": 0, "readings": 1, "digest": 1}
        says = {"second": start, "subject_kind": 12, "power_milliwatts": milliwatts, "expected": 1, "reporting": 1}
        rows = pl.DataFrame([nothing | says | {"subject": meter} for meter in registry.meters["meter"]], PARTIAL.polars)
        evaluator.take(second, Envelope(*STREAM, 0, 0, kind, start, start + SECOND, start), rows)
        evaluator.close()

    told("closing", 0, 100)
    told("closing", 1, 170)
    where = evaluator.sums.watch.members
    assert of_row(where, evaluator.ramps(START + SECOND)[1]) == (6 * 70, 6, 6)
    told("revision", 0, 160)
    assert of_row(where, evaluator.ramps(START + SECOND)[1]) == (6 * 10, 6, 6)
