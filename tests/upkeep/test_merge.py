"""Sorted files become one order within a bound of memory, and of each thing one row stands: as in the views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.lake.identity import IDENTITIES, PLACE_ORDER
from sinks.lake.order import LOG_ORDER, integers
from sinks.lake.order import in_order as in_flush_order
from sinks.lake.tables import BY_NAME, TABLES, Table
from sinks.upkeep import merge
from sinks.upkeep.merge import merged
from sinks.upkeep.row_checksum import Checksum, checksum
from sinks.upkeep.runs import Run, UnfitFileError, is_in_order, lower_bound
from sinks.upkeep.standing import standing
from tests.upkeep.compacting import by_place, random_rows, standing_rows


def flushed(rows: pa.Table, table: Table, folder: Path, parts: int, group_rows: int) -> list[Path]:
    """Write rows as so many flush files."""
    paths = []
    for number, at in enumerate(np.array_split(np.arange(rows.num_rows), parts)):
        paths.append(folder / f"{number}.parquet")
        part = in_flush_order(rows.take(pa.array(at)), (*table.sort, *LOG_ORDER))
        pq.write_table(part, paths[-1], row_group_size=group_rows, write_page_checksum=True)
    return paths


@pytest.mark.parametrize("name", sorted(BY_NAME))
@given(count=st.integers(1, 120), parts=st.integers(1, 7), group_rows=st.integers(1, 40), seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_what_stands_after_a_merge_is_what_the_views_show(  # noqa: PLR0917
    tmp_path_factory: pytest.TempPathFactory, name: str, count: int, parts: int, group_rows: int, seed: int
) -> None:
    """Over any rows and any files of them, in little memory: in order, none lost, each identity once."""
    table, folder = BY_NAME[name], tmp_path_factory.mktemp("merge")
    rows, read = random_rows(table, count, seed), []
    paths = flushed(rows, table, folder, parts, group_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "MEMORY_BYTES", 6_000)
        patch.setattr(merge, "_LEAST_GROUP_ROWS", 4)
        patch.setattr(merge, "_FILE_GROUPS", 2)
        pieces = list(merged(paths, table, folder / "half", read.append, lambda _: None))
    kept = [standing(piece, table) for piece in pieces]
    stood = [
        piece.rows if mask is None else piece.rows.filter(pa.array(mask))
        for piece, mask in zip(pieces, kept, strict=True)
    ]
    found = pa.concat_tables(stood)
    assert is_in_order([integers(found.column(each)) for each in dict.fromkeys((*table.sort, table.hour_of))])
    assert pa.concat_tables(read).num_rows == count
    assert sum(checksum(each).value for each in read) % 2**64 == checksum(rows).value
    is_deduplicated = IDENTITIES[name].is_within_hour and IDENTITIES[name].key != PLACE_ORDER
    expected = standing_rows(rows, name) if is_deduplicated else by_place(rows)
    assert by_place(found).equals(expected)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_an_hour_is_taken_apart_where_the_order_begins(table: Table) -> None:
    identity = IDENTITIES[table.name]
    assert table.sort[: len(identity.cut)] == identity.cut
    if identity.is_within_hour and identity.key != PLACE_ORDER:
        assert set(identity.cut) <= {*identity.key, *identity.whole}
        assert table.hour_of in identity.key


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30).map(sorted),
    st.tuples(st.integers(-1, 4), st.integers(-1, 4)),
)
def test_the_lower_bound_is_where_the_rows_before_a_key_end(rows: list[tuple[int, int]], edge: tuple[int, int]) -> None:
    columns = [np.array([row[number] for row in rows], np.int64) for number in range(2)]
    assert lower_bound(columns, edge) == sum(row < edge for row in rows)


@given(count=st.integers(1, 60), at=st.integers(0, 59), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_a_checksum_adds_up_in_any_order_and_shows_any_other_value(count: int, at: int, seed: int) -> None:
    rows = random_rows(BY_NAME["gpu"], count, seed)
    order = np.random.default_rng(seed).permutation(count)
    half = count // 2
    parts = [checksum(rows.take(pa.array(part))) for part in (order[:half], order[half:])]
    assert parts[0].plus(parts[1]) == checksum(rows)
    values = rows.column("power_deciwatts").to_pylist()
    values[at % count] = 7
    changed = rows.set_column(
        rows.schema.get_field_index("power_deciwatts"), "power_deciwatts", pa.array(values, pa.int32())
    )
    assert checksum(changed) != checksum(rows)
    assert checksum(rows.slice(0, 0)) == Checksum()


def test_a_value_that_moved_to_another_row_shows_in_the_checksum() -> None:
    rows = random_rows(BY_NAME["power"], 3, 1)
    swapped = rows.set_column(
        rows.schema.get_field_index("power_watts"), "power_watts", pa.array([5.0, 4.0, None], pa.float64())
    )
    other = swapped.set_column(
        rows.schema.get_field_index("power_watts"), "power_watts", pa.array([4.0, 5.0, None], pa.float64())
    )
    assert checksum(swapped) != checksum(other)


def test_a_file_that_is_not_in_order_is_refused(tmp_path: Path) -> None:
    table = BY_NAME["gpu"]
    rows = random_rows(table, 9, 1)
    backwards = in_flush_order(rows, (*table.sort, *LOG_ORDER)).take(pa.array(range(8, -1, -1)))
    pq.write_table(backwards, tmp_path / "x.parquet")
    run = Run([tmp_path / "x.parquet"], table, ("rack",), lambda _: None)
    with pytest.raises(UnfitFileError, match="its rows are not by rack"):
        run.read()


def test_a_file_with_a_column_of_a_newer_version_is_refused_and_one_without_a_column_is_read(tmp_path: Path) -> None:
    table = BY_NAME["gpu"]
    rows = random_rows(table, 9, 1)
    pq.write_table(rows.append_column("newer", pa.array(range(9))), tmp_path / "newer.parquet")
    with pytest.raises(UnfitFileError, match="the column 'newer', which this version of Wattline does not know"):
        Run([tmp_path / "newer.parquet"], table, (), lambda _: None)
    pq.write_table(rows.drop_columns(["decoder_e4"]), tmp_path / "older.parquet")
    run = Run([tmp_path / "older.parquet"], table, (), lambda _: None)
    run.read()
    assert run.rows.schema == table.arrow
    assert run.rows.column("decoder_e4").null_count == 9
