"""The order of rows in a file and their hours."""

from __future__ import annotations

from random import Random

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.lake.order import by_hour, in_order, packed_key
from sinks.lake.tables import BY_NAME, MIXED_HOUR

HOUR = 3_600_000_000
INTEGERS = st.integers(-(2**31), 2**31 - 1)


def progress(hours: list[int]) -> pa.Table:
    """Return rows of `progress`, one an hour given, whose offset is their number."""
    count = len(hours)
    times = pa.array([hour * HOUR + 1 for hour in hours], pa.int64()).cast(pa.timestamp("us"))
    table = BY_NAME["progress"]
    return pa.table(
        {
            field.name: times
            if field.name in ("time", "_appended")
            else pa.array(range(count), field.type)
            if field.name in ("_offset", "_row")
            else pa.array([0] * count, field.type)
            if field.name == "_partition"
            else pa.nulls(count, field.type)
            for field in table.columns
        },
        schema=table.arrow,
    )


@settings(deadline=None)
@given(st.lists(st.tuples(INTEGERS, INTEGERS, INTEGERS), min_size=1, max_size=60))
def test_a_packed_key_orders_rows_as_their_columns_do(rows: list[tuple[int, int, int]]) -> None:
    columns = [np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)]
    order = np.argsort(packed_key(columns), kind="stable")
    assert [rows[i] for i in order] == sorted(rows)


@settings(deadline=None)
@given(st.integers(2, 9), st.randoms(use_true_random=False))
def test_columns_of_any_width_and_number_are_packed(count: int, random: Random) -> None:
    """Fails, or never ends, where ranks are too wide together: nine columns of 300 ranks take 81 bits."""
    pool = [random.randint(-(2**62), 2**62) for _ in range(300)]
    rows = [tuple(random.choice(pool) for _ in range(count)) for _ in range(300)]
    columns = [np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)]
    order = np.argsort(packed_key(columns), kind="stable")
    assert [rows[i] for i in order] == sorted(rows)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_equal_keys_keep_the_order_of_the_log(rows: list[tuple[int, int]]) -> None:
    table = pa.table(
        {
            "rack": pa.array([r for r, _ in rows]),
            "node": pa.array([n for _, n in rows]),
            "at": pa.array(range(len(rows))),
        }
    )
    ordered = in_order(table, ("rack", "node")).to_pylist()
    assert ordered == sorted(table.to_pylist(), key=lambda row: (row["rack"], row["node"]))


@settings(deadline=None)
@given(st.lists(st.integers(400_000, 400_030), min_size=1, max_size=80), st.integers(2, 8))
def test_every_row_is_in_exactly_one_hour_and_there_are_never_too_many(hours: list[int], most: int) -> None:
    parts = list(by_hour(progress(hours), BY_NAME["progress"], most))
    assert len(parts) <= most
    offsets = [offset for _, part in parts for offset in part.column("_offset").to_pylist()]
    assert sorted(offsets) == list(range(len(hours)))
    for name, part in parts:
        if name != MIXED_HOUR:
            expected = str(np.datetime64(hours[part.column("_offset")[0].as_py()], "h"))
            assert name == expected
            assert {value.strftime("%Y-%m-%dT%H") for value in part.column("time").to_pylist()} == {name}


def test_the_smallest_hours_are_the_mixed_ones() -> None:
    hours = [400_000] * 5 + [400_001] * 4 + [400_002, 400_003]
    parts = {name: part.num_rows for name, part in by_hour(progress(hours), BY_NAME["progress"], 3)}
    assert parts == {"2015-08-19T16": 5, "2015-08-19T17": 4, MIXED_HOUR: 2}
