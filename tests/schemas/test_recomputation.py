"""Requests and answers of recomputations keep what they say through JSON, and anything else is refused."""

from __future__ import annotations

import pytest

from schemas.errors import RejectedRecordError
from schemas.message import Message
from schemas.recomputation import TOPIC, Answered, Asked, decode, encode


@pytest.mark.parametrize(
    "record",
    [
        Asked("ruh", 10, 20, "late", "telemetry.power.v1", 3, 99),
        Asked(None, 10, 20, "conflict", "telemetry.gpu.v1", 0, 0),
        Answered(None, 10, 20, 7, generation=1),
        Answered("ruh", 10, 20, 7, final_because="retention", message="the lake begins at offset 12"),
    ],
)
def test_a_record_comes_back_as_it_was(record: Asked | Answered) -> None:
    assert decode(Message(TOPIC, 0, 0, 0, None, encode(record), ())) == record


@pytest.mark.parametrize("value", [None, b"", b"{}", b'{"type":"asked"}', b'{"type":"told"}', b"[" * 9999])
def test_what_is_no_record_is_refused(value: bytes | None) -> None:
    with pytest.raises(RejectedRecordError, match=r"recomputations\.v1/0/5"):
        decode(Message(TOPIC, 0, 5, 0, None, value, ()))
