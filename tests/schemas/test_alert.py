"""The alert event keeps its times exact, its identity stable, and refuses what is not one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alert import Alert, alert_id, decode_alert, encode_alert, microseconds, moment
from schemas.errors import RejectedRecordError
from schemas.message import Message

START = datetime(2024, 7, 16, 7, 45, 50, 854000, tzinfo=UTC)


def firing() -> Alert:
    return Alert(
        id=alert_id("rack-over-limit", "ruh/h1/r04/k17", microseconds(START)),
        transition="firing",
        rule="rack-over-limit",
        rule_version="1",
        site="ruh",
        subject_kind="rack",
        subject="ruh/h1/r04/k17",
        severity="critical",
        start=START,
        at=START,
        fired=START,
        value=134_600.0,
        limit=132_000.0,
    )


def in_a_message(value: bytes | None) -> Message:
    return Message("alerts.v1", 0, 7, 0, None, value)


def test_an_alert_survives_the_wire_unchanged() -> None:
    assert decode_alert(in_a_message(encode_alert(firing()))) == firing()


@given(st.integers(min_value=-(10**15), max_value=10**16))
def test_microseconds_survive_the_way_to_a_time_and_back(at: int) -> None:
    assert microseconds(moment(at)) == at


def test_another_start_rule_or_subject_is_another_alert() -> None:
    ids = {
        alert_id("a", "ruh/h1", 1),
        alert_id("a", "ruh/h1", 2),
        alert_id("b", "ruh/h1", 1),
        alert_id("a", "ruh/h2", 1),
    }
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", "not_json"),
        (b'{"x":' + b"[" * 100_000, "not_json"),
        (b'{"id": 3}', "wrong_type"),
    ],
)
def test_what_is_not_an_alert_is_refused_with_its_place(value: bytes | None, reason: str) -> None:
    with pytest.raises(RejectedRecordError, match=r"alerts\.v1/0/7") as refusal:
        decode_alert(in_a_message(value))
    assert refusal.value.reason == reason
