"""Rows by the block are those of decoding and admission row by row, whatever the messages hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.admission import Clock
from schemas.arrow import encode
from schemas.gpu import GPU
from schemas.message import Message
from schemas.meter import METER
from sinks.lake import rows as lake_rows
from sinks.lake.block_rows import rows_of_blocks
from sinks.lake.order import LOG_ORDER
from sinks.lake.rows import read_rows
from sinks.lake.tables import BY_NAME
from tests.lake.readings import START, frame, power_message
from tests.streams.gpu_logs import GPU_TOPIC, TIMELINE, changes, good_changes, logs

POWER_TOPIC = "telemetry.power.v1"


def row_by_row(topic: str, messages: list[Message], timeline: Any, clock: Clock) -> pa.Table:
    """Return what decoding and admission make of messages, the block's way left out."""

    def nothing(table: Any, record: Any, messages: list[Message], *rest: Any) -> tuple[pa.Table, list[Message]]:
        return table.arrow.empty_table(), messages

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake_rows, "rows_of_blocks", nothing)
        (rows,) = read_rows(topic, messages, timeline, clock).values()
    return rows


def in_log_order(rows: pa.Table) -> list[dict[str, Any]]:
    return rows.sort_by([(name, "ascending") for name in LOG_ORDER]).to_pylist()


@settings(max_examples=150, deadline=None)
@given(logs(changes), st.sampled_from(("wall", "event")), st.sampled_from((TIMELINE, None)))
def test_any_readings_are_what_admission_row_by_row_makes_of_them(
    log: list[Message], clock: Clock, timeline: Any
) -> None:
    found = read_rows(GPU_TOPIC, log, timeline, clock)["gpu"]
    assert found.schema == BY_NAME["gpu"].arrow
    assert in_log_order(found) == in_log_order(row_by_row(GPU_TOPIC, log, timeline, clock))


@settings(max_examples=150, deadline=None)
@given(logs(good_changes))
def test_good_readings_are_taken_by_the_block_and_are_the_same(log: list[Message]) -> None:
    """Fails where a null, a rounding, a unit or a place is another by the block."""
    found, others = rows_of_blocks(BY_NAME["gpu"], GPU, log, TIMELINE, "wall")
    assert not others
    assert in_log_order(found) == in_log_order(row_by_row(GPU_TOPIC, log, TIMELINE, "wall"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1e9), min_size=1, max_size=5), min_size=1, max_size=6))
def test_readings_of_meters_keep_their_full_precision(watts: list[list[float]]) -> None:
    log = [power_message(offset, each) for offset, each in enumerate(watts)]
    found, others = rows_of_blocks(BY_NAME["power"], METER, log, None, "event")
    assert not others
    assert found.schema == BY_NAME["power"].arrow
    assert [row["power_watts"] for row in in_log_order(found)] == [value for each in watts for value in each]
    assert in_log_order(found) == in_log_order(row_by_row(POWER_TOPIC, log, None, "event"))


def test_no_messages_are_no_rows_of_the_tables_shape() -> None:
    found, others = rows_of_blocks(BY_NAME["power"], METER, [], None, "event")
    assert (found.schema, found.num_rows, others) == (BY_NAME["power"].arrow, 0, [])


def test_a_column_that_some_messages_fill_is_null_in_the_others() -> None:
    log = [power_message(offset, [1.0, 2.0]) for offset in range(3)]
    amps = frame(METER, time=[START] * 2, meter=[0, 1], phase=[0, 0], power_watts=[1.0, 2.0], current_amps=[3.0, None])
    log[1] = log[1]._replace(value=encode(METER, amps))
    found, _ = rows_of_blocks(BY_NAME["power"], METER, log, None, "event")
    assert [row["current_amps"] for row in in_log_order(found)] == [None, None, 3.0, None, None, None]
