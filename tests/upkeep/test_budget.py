"""The disk budget: pure, and never below a floor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.upkeep.budget import Plan, ages, growth, limit, plan
from sinks.upkeep.settings import DEFAULTS, Keeping

NOW = datetime(2026, 3, 9, tzinfo=UTC)
TABLES = tuple(DEFAULTS)
days = st.dictionaries(st.integers(0, 2000), st.integers(0, 10**12), max_size=12)
lakes = st.dictionaries(st.sampled_from(TABLES), days, max_size=len(TABLES))
floors = st.none() | st.integers(1, 400)
keepings = st.fixed_dictionaries({name: st.builds(Keeping, st.none(), floors) for name in TABLES})


def kept(sizes: dict[str, dict[int, int]], found: Plan) -> dict[str, set[int]]:
    return {
        name: {age for age in by_age if name not in found.shortened or age < found.shortened[name]}
        for name, by_age in sizes.items()
    }


@settings(max_examples=400)
@given(lakes, st.integers(0, 10**13), keepings)
def test_a_plan_holds_the_budget_or_leaves_every_table_at_its_floor(
    sizes: dict[str, dict[int, int]], most: int, tables: dict[str, Keeping]
) -> None:
    found = plan(sizes, most, tables)
    rest = kept(sizes, found)
    assert found.left_bytes == sum(sizes[name][age] for name, ages_ in rest.items() for age in ages_)
    assert found.is_enough == (found.left_bytes <= most)
    for name, by_age in sizes.items():
        least = tables[name].least_days
        protected = set(by_age) if least is None else {age for age in by_age if age < least}
        assert protected <= rest[name]
        assert found.is_enough or rest[name] == protected


@settings(max_examples=400)
@given(lakes, st.integers(0, 10**13), keepings)
def test_a_table_is_shortened_only_when_those_before_it_are_at_their_floors(
    sizes: dict[str, dict[int, int]], most: int, tables: dict[str, Keeping]
) -> None:
    found = plan(sizes, most, tables)
    rest = kept(sizes, found)
    order = [name for name in tables if tables[name].least_days is not None]
    for earlier, later in pairwise(order):
        if later in found.shortened:
            assert all(age < (tables[earlier].least_days or 0) for age in rest.get(earlier, set()))


@settings(max_examples=200)
@given(lakes, st.integers(0, 10**13), st.integers(0, 10**13), keepings)
def test_a_larger_budget_keeps_no_less(
    sizes: dict[str, dict[int, int]], one: int, other: int, tables: dict[str, Keeping]
) -> None:
    small, large = (kept(sizes, plan(sizes, most, tables)) for most in sorted((one, other)))
    assert all(small[name] <= large[name] for name in sizes)


@settings(max_examples=200)
@given(lakes, st.integers(0, 10**13), keepings)
def test_a_plan_that_was_carried_out_changes_nothing_more(
    sizes: dict[str, dict[int, int]], most: int, tables: dict[str, Keeping]
) -> None:
    rest = kept(sizes, plan(sizes, most, tables))
    left = {name: {age: sizes[name][age] for age in ages_} for name, ages_ in rest.items()}
    assert plan(left, most, tables).shortened == {}  # what is left is within the budget, or at the floors


def test_without_a_budget_nothing_is_shortened() -> None:
    assert plan({"gpu": {900: 10**15}}, None, DEFAULTS) == Plan({}, 10**15, is_enough=True)
    assert limit(None, 1e9, 24) is None


def test_the_limit_leaves_room_for_what_waits_to_be_removed() -> None:
    assert limit(100, 10.0, 24) == 80
    assert limit(100, 10.0, 48) == 60


def frame(*files: tuple[int, float, float]) -> pl.DataFrame:
    """Return files of (bytes, days ago that its first and its last row were appended)."""
    naive = NOW.replace(tzinfo=None)
    return pl.DataFrame(
        {
            "bytes": [each[0] for each in files],
            "low": [naive - timedelta(days=each[1]) for each in files],
            "high": [naive - timedelta(days=each[2]) for each in files],
        },
        schema={"bytes": pl.Int64, "low": pl.Datetime("us"), "high": pl.Datetime("us")},
    )


def test_growth_is_measured_by_when_rows_were_appended() -> None:
    week = [(100, number + 1.0, float(number)) for number in range(8)]
    assert growth({"gpu": frame(*week), "power": frame((10**9, 99, 90))}, NOW) == pytest.approx(100, rel=0.15)
    assert growth({"gpu": frame((50, 0.5, 0.1))}, NOW) == pytest.approx(100)
    assert growth({"gpu": frame()}, NOW) == 0.0


def test_ages_are_whole_days_since_the_newest_row() -> None:
    assert ages(frame((1, 9, 0.9), (2, 9, 1.0), (4, 9, 1.9), (8, 3, -2)), NOW) == {0: 9, 1: 6}
