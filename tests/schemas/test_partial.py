"""The partial as a message: what is encoded comes back, and what is none is refused by name."""

from __future__ import annotations

import msgspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.errors import RejectedRecordError
from schemas.message import Message
from schemas.partial import PARTIAL, Envelope, Partial, decode, decode_all, encode
from schemas.piece import PIECE

ENVELOPE = Envelope("telemetry.gpu.v1", 3, 10, 20, "closing", 0, 1_000_000, 5)
ROW = {"second": 0, "subject_kind": 4, "subject": 1, "utilization_count": 0, "expected": 1, "reporting": 1}


def rows(**columns: object) -> pl.DataFrame:
    given = ROW | {"readings": 1, "digest": 7} | columns
    typed = [pl.Series(name, [given.get(name)], dtype=dtype) for name, dtype in PARTIAL.polars.items()]
    return pl.DataFrame(typed)


def message(partial: Partial) -> Message:
    value, headers = encode(partial)
    return Message("windows.rack.v1", 0, 7, 0, b"ruh", value, tuple(headers))


def test_a_partial_comes_back_with_its_envelope() -> None:
    told = decode(message(Partial(ENVELOPE, rows())))
    assert told.envelope == ENVELOPE
    assert_frame_equal(told.rows, rows())


def test_a_row_without_its_subject_is_no_partial() -> None:
    with pytest.raises(RejectedRecordError, match="7: subject is missing") as refused:
        decode(message(Partial(ENVELOPE, rows(subject=None))))
    assert (refused.value.reason, refused.value.field) == ("missing_field", "subject")


@pytest.mark.parametrize("header", [b"", b"\xff\xfe", b"[" * 100_000, b'{"topic": "\xff"}', b'{"topic": 1}'])
def test_an_envelope_that_is_none_is_refused(header: bytes) -> None:
    good = message(Partial(ENVELOPE, rows()))
    headers = tuple((name, header if name == "partial" else text) for name, text in good.headers)
    with pytest.raises(RejectedRecordError, match="not an envelope"):
        decode(good._replace(headers=headers))


@pytest.mark.parametrize("kind", ["piece", "histogram"])
def test_what_a_piece_says_travels_under_an_envelope_too(kind: str) -> None:
    envelope = msgspec.structs.replace(ENVELOPE, kind=kind)
    told = decode(message(Partial(envelope, envelope.record.empty())))
    assert told.rows.schema == envelope.record.polars != PARTIAL.polars


def test_rows_of_another_record_than_the_envelope_says_are_refused() -> None:
    piece = message(Partial(msgspec.structs.replace(ENVELOPE, kind="piece"), PIECE.empty()))
    closing = message(Partial(ENVELOPE, rows()))
    headers = (*(pair for pair in piece.headers if pair[0] != "partial"), *(
        pair for pair in closing.headers if pair[0] == "partial"
    ))  # fmt: skip
    with pytest.raises(RejectedRecordError) as refused:
        decode(piece._replace(headers=headers))
    assert refused.value.reason == "wrong_schema"


def test_many_at_once_are_what_each_alone_is() -> None:
    piece = msgspec.structs.replace(ENVELOPE, kind="piece")
    partials = [
        Partial(ENVELOPE, pl.concat([rows(), rows(subject=2)])),
        Partial(piece, PIECE.empty()),
        Partial(msgspec.structs.replace(ENVELOPE, kind="idle"), PARTIAL.empty()),
        Partial(ENVELOPE, rows(subject=3)),
    ]
    messages = [message(partial)._replace(offset=20 + nth) for nth, partial in enumerate(partials)]
    for told, alone in zip(decode_all(messages), map(decode, messages), strict=True):
        assert isinstance(told, Partial)
        assert told.envelope == alone.envelope
        assert_frame_equal(told.rows, alone.rows)


@pytest.mark.parametrize("bad", [Partial(ENVELOPE, rows(subject=None)), None])
def test_of_many_the_bad_one_costs_only_itself(bad: Partial | None) -> None:
    good = [message(Partial(ENVELOPE, rows(subject=nth))) for nth in range(3)]
    worse = message(bad) if bad else good[0]._replace(value=b"garbage")
    messages = [each._replace(offset=nth) for nth, each in enumerate([good[0], worse, good[1], good[2]])]
    told = decode_all(messages)
    assert [type(each) for each in told] == [Partial, RejectedRecordError, Partial, Partial]
    assert [each.rows["subject"].to_list() for each in told if isinstance(each, Partial)] == [[0], [1], [2]]
