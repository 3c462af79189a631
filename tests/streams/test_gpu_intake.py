"""Readings by the block are those of decoding and admission row by row, whatever the messages hold."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.block_admission import admits_all
from schemas.blocks import BYTES_IN_CACHE, blocks_of, in_blocks
from schemas.gpu import GPU
from schemas.timeline import EVER, FOREVER
from streams import gpu_intake
from streams.gpu_intake import GpuIntake, take_in
from streams.in_force import InForce
from tests.streams.gpu_logs import (
    APPENDED,
    HEADERS,
    REGISTRY,
    TIMELINE,
    Known,
    by_polars,
    by_pyarrow,
    changes,
    frame_of,
    good_changes,
    logs,
    message,
)
from tests.streams.log import GPUS, SECOND, START, slots

IN_FORCE = InForce.always(REGISTRY)


def row_by_row(messages, clock="wall"):
    """Return what decoding and admission make of messages, the block's way left out."""
    return gpu_intake._row_by_row(messages, TIMELINE, IN_FORCE, clock)


def same(one: tuple[GpuIntake, pl.DataFrame], other: tuple[GpuIntake, pl.DataFrame]) -> None:
    for mine, theirs in zip([*one[0].rows, *one[0].messages], [*other[0].rows, *other[0].messages], strict=True):
        assert (mine.dtype, mine.tolist()) == (theirs.dtype, theirs.tolist())
    assert one[0].partition.tolist() == other[0].partition.tolist()
    assert_frame_equal(one[1], other[1])


def is_taken_by_the_block(messages, clock="wall"):
    blocks, others = blocks_of(GPU, messages, 1 << 24)
    return not others and all(admits_all(GPU, block, messages, REGISTRY, clock=clock) for block in blocks)


@settings(max_examples=150, deadline=None)
@given(logs(changes), st.sampled_from(("wall", "event")))
def test_any_readings_are_what_admission_row_by_row_makes_of_them(log, clock):
    same(take_in(log, TIMELINE, IN_FORCE, clock), row_by_row(log, clock))


@settings(max_examples=150, deadline=None)
@given(logs(good_changes))
def test_good_readings_are_taken_by_the_block_and_are_the_same(log):
    """Fails where a null, a rounding or a message's place is another by the block."""
    assert is_taken_by_the_block(log)
    same(take_in(log, TIMELINE, IN_FORCE, "wall"), row_by_row(log))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("power_watts", math.nan), ("power_watts", -0.5), ("power_watts", 1_401.0), ("power_watts", math.inf),
        ("utilization_fraction", 1.001), ("temperature_celsius", -60.5), ("temperature_celsius", math.nan),
        ("energy_joules", -1.0), ("energy_joules", 1.1e15), ("gpu", 1_024), ("gpu", -1), ("instance", 256),
        ("time", 0), ("time", APPENDED + 5_000_001), ("time", None), ("rack", None), ("averaging", 2),
        ("memory_used_bytes", -1), ("sm_clock_mhz", -math.inf), ("interval_seconds", math.nan),
    ],
)  # fmt: skip
def test_one_bad_value_sends_its_block_row_by_row(column, value):
    log = [message(by_polars(frame_of([{}, {column: value}, {"gpu": 1}])))]
    assert not is_taken_by_the_block(log)
    intake, refused = take_in(log, TIMELINE, IN_FORCE, "wall")
    assert (len(intake.rows.second), refused["row"].to_list()) == (2, [1])


@settings(max_examples=300, deadline=None)
@given(logs(good_changes), st.data())
def test_bytes_that_were_changed_anywhere_never_raise_and_give_what_decoding_gives(log, data):
    value = bytearray(log[0].value)
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(value))))
    log[0] = log[0]._replace(value=bytes(value[:cut]))
    same(take_in(log, TIMELINE, IN_FORCE, "wall"), row_by_row(log))


def test_messages_of_other_formats_and_large_and_small_ones_stand_in_the_order_of_the_log():
    small, large = by_polars(frame_of([{"gpu": 1}])), by_pyarrow(frame_of([{"gpu": g % GPUS} for g in range(600)]))
    json = b'{"time": "2023-11-14T22:13:20Z", "rack": 1, "node": 11, "gpu": 2, "power_watts": 5}'
    values = [
        (small, HEADERS),
        (json, ()),
        (large, HEADERS),
        (small, HEADERS),
        (b"{", ()),
        (large, HEADERS),
        (None, ()),
    ]
    log = [message(value, offset // 4, offset, headers) for offset, (value, headers) in enumerate(values)]
    intake, refused = take_in(log, TIMELINE, IN_FORCE, "wall")
    assert intake.messages.offset.tolist() == [0, 1, 2, 3, 5]
    assert np.diff(intake.messages.rows).tolist() == [1, 1, 600, 1, 600]
    assert refused["offset"].to_list() == [4, 6]
    assert [(number, len(rows.second)) for number, rows, _ in intake.by_partition()] == [(0, 603), (1, 600)]


def test_a_drain_is_cut_into_blocks_that_hold_all_of_it():
    log = [message(b"x" * 400_000, offset=offset) for offset in range(7)]
    blocks = list(in_blocks(log, BYTES_IN_CACHE))
    assert [each for block in blocks for each in block] == log
    assert len(blocks) == 3
    assert list(in_blocks([], BYTES_IN_CACHE)) == []


def test_a_block_in_which_the_facility_changes_goes_row_by_row_to_the_slots_of_each_second():
    class Fewer(Known):
        slots = slots().filter(pl.col("rack") > 1)

    changes_at = START + 1
    in_force = InForce([(EVER, changes_at, REGISTRY), (changes_at, FOREVER, Fewer())])
    readings = [{"time": (START + s) * SECOND, "rack": r, "node": 10 * r} for s in range(3) for r in (1, 2)]
    intake, _ = take_in([message(by_polars(frame_of(readings)))], TIMELINE, in_force, "event")
    assert intake.rows.slot.tolist() == [0, 8, -1, 0, -1, 0]
