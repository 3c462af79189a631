"""Refusals: the raw bytes once a message, one refusal a row, text that can be shown anywhere."""

from __future__ import annotations

import pytest

from schemas import arrow
from schemas.message import Message
from schemas.printable import printable, printable_bytes
from schemas.rejected import REJECTED
from schemas.rejection import RAW_BYTES, WHOLE, Refusal, refused_frame, with_raw

TOPIC = "telemetry.power.v1"


def message(offset: int, value: bytes | None) -> Message:
    return Message(TOPIC, 1, offset, 0, b"k", value)


def refusals(of: Message, rows: range) -> list[Refusal]:
    return [Refusal(of, row, "out_of_range", "is too much", "power_watts", "9") for row in rows]


def test_the_bytes_of_a_message_stand_on_its_first_refused_row_only() -> None:
    one, two = message(1, b"one"), message(2, b"two")
    late, early = refused_frame(refusals(one, range(4, 6))), refused_frame(refusals(one, range(2, 3)))
    told = with_raw([late, refused_frame(refusals(two, range(7, 9))), early], [one, two])
    assert told.select("offset", "row", "raw").rows() == [
        (1, 2, b"one"), (1, 4, None), (1, 5, None), (2, 7, b"two"), (2, 8, None)
    ]  # fmt: skip


def test_bytes_that_are_not_shown_are_not_sent_either() -> None:
    """polars writes what lies behind a masked null, so 1,000 rows of 60 kB were 60 MB on the wire."""
    large = message(1, bytes(60_000))
    told = with_raw([refused_frame(refusals(large, range(1000)))], [large])
    assert len(arrow.encode(REJECTED, told)) < 60_000 + 1000 * 400


def test_only_the_start_of_a_large_message_is_kept() -> None:
    told = with_raw([refused_frame([Refusal(message(1, bytes(RAW_BYTES + 1)), WHOLE, "not_json", "is noise")])],
                    [message(1, bytes(RAW_BYTES + 1))])  # fmt: skip
    assert told["raw"].bin.size().to_list() == [RAW_BYTES]


def test_a_row_refused_twice_is_told_once_for_the_first_reason() -> None:
    one = message(1, b"x")
    again = refused_frame([Refusal(one, 4, "bad_time", "is no time")])
    told = with_raw([refused_frame(refusals(one, range(4, 5))), again], [one])
    assert told.select("row", "reason").rows() == [(4, "out_of_range")]


def test_nothing_refused_is_an_empty_frame_of_the_record() -> None:
    assert with_raw([], []).schema == REJECTED.polars
    assert with_raw([refused_frame([])], [message(1, None)]).is_empty()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü رياض", "plain ü رياض"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("line\nbreak", "line\\x0abreak"),
    ],
)
def test_what_moves_a_cursor_or_hides_text_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_shown_is_never_longer_than_asked_for() -> None:
    assert printable("\x1b" * 1000, 200) == "\\x1b" * 49 + "\\x1" + "…"
    assert printable_bytes(b"\xff" * 10_000, 200).startswith("\\xff\\xff")
    assert len(printable_bytes(b"\xff" * 10_000, 200)) == 200
