"""The native format: what is encoded comes back, joined or one by one, and a bad message stands alone."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas import arrow
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.message import Message

TOPIC = "telemetry.gpu.v1"
APPENDED = 1_767_225_600_000_000


def readings(rows: int, rack: int = 1) -> pl.DataFrame:
    """Return `rows` readings of one rack at APPENDED, all measured columns but power null."""
    frame = pl.DataFrame(
        {
            "time": pl.Series([APPENDED] * rows).cast(pl.Datetime("us")),
            "rack": pl.Series([rack] * rows, dtype=pl.Int32),
            "node": pl.int_range(rows, eager=True, dtype=pl.Int32) // 8,
            "gpu": pl.int_range(rows, eager=True, dtype=pl.Int32) % 8,
            "power_watts": pl.int_range(rows, eager=True).cast(pl.Float32) + 0.1,
        }
    )
    return pl.concat([GPU.empty(), frame], how="diagonal")


def native(frame: pl.DataFrame, offset: int = 0, partition: int = 3) -> Message:
    return Message(TOPIC, partition, offset, APPENDED, b"k", arrow.encode(GPU, frame), tuple(arrow.headers(GPU)))


@pytest.mark.parametrize("rows", [0, 1, 46, 10_000])
def test_what_is_encoded_comes_back(rows: int) -> None:
    decoded = decode(TOPIC, [native(readings(rows), offset=7)], None)
    assert_frame_equal(decoded.frame.select(GPU.polars.keys()), readings(rows))
    assert decoded.refused.is_empty()
    assert decoded.frame["_row"].to_list() == list(range(rows))
    assert set(decoded.frame["_offset"]) <= {7}


def test_joined_messages_equal_those_read_one_by_one() -> None:
    messages = [native(readings(rows, rack), offset=rack) for rack, rows in enumerate([46, 1, 0, 300])]
    one_by_one = pl.concat([decode(TOPIC, [message], None).frame for message in messages])
    assert_frame_equal(decode(TOPIC, messages, None).frame, one_by_one)


def test_a_torn_message_costs_no_neighbour() -> None:
    good, torn = native(readings(46), 1), native(readings(46), 2)
    torn = torn._replace(value=(torn.value or b"")[:-300])
    decoded = decode(TOPIC, [good, torn, native(readings(46), 3)], None)
    assert decoded.frame.height == 92
    assert decoded.refused.select("partition", "offset", "row", "reason").rows() == [(3, 2, -1, "not_arrow")]
