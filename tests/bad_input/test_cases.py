"""Every case of tests/bad_input/cases.py at the level of decoding and admission, alone and among good messages."""

from __future__ import annotations

import re

import polars as pl
import pytest

from schemas.admission import admit
from schemas.decode import decode
from schemas.job import decode_jobs, decode_progress
from schemas.message import Message
from schemas.printable import SHOWN_CHARACTERS
from schemas.rejected import REASONS, REJECTED
from schemas.rejection import RAW_BYTES, with_raw
from schemas.topics import BY_NAME
from tests.bad_input.cases import JOBS_TOPIC, PROGRESS_TOPIC, Case, cases

NOW = 1_767_225_600_000_000
CASES = {case.name: case for case in cases(NOW)}
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069]")


def message(case: Case, offset: int) -> Message:
    return Message(case.topic, 2, offset, NOW, case.key, case.value, case.headers)


def taken_in(messages: list[Message]) -> tuple[int, pl.DataFrame]:
    """Return how many rows of one topic are admitted, and all refusals, as the streams make them."""
    topic = messages[0].topic
    if topic == JOBS_TOPIC:
        jobs, refused = decode_jobs(messages, None)
        return len(jobs), refused
    if topic == PROGRESS_TOPIC:
        progress, refused = decode_progress(messages)
        return len(progress), refused
    decoded = decode(topic, messages, None)
    admitted = admit(BY_NAME[topic].record, decoded.frame, None, clock="wall")
    return admitted.rows.height, with_raw([decoded.refused, admitted.refused], messages)


def test_there_are_cases_enough_and_every_reason_of_content_is_among_them() -> None:
    assert len(CASES) >= 70
    assert {case.reason for case in CASES.values()} == set(REASONS) - {"absurd_power", "undecodable_batch"}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_message_is_refused_by_name_and_costs_no_good_row(name: str) -> None:
    case = CASES[name]
    good, refused = taken_in([message(case, offset=7)])
    assert good == case.good
    place = refused.select("topic", "partition", "offset", "row", "reason", "field").rows()
    assert place == [(case.topic, 2, 7, case.row, case.reason, case.field)]
    assert refused["raw"][0] == (None if case.value is None else case.value[:RAW_BYTES])


@pytest.mark.parametrize("name", CASES)
def test_a_refusal_is_a_sentence_that_can_be_shown_anywhere(name: str) -> None:
    case = CASES[name]
    _, refused = taken_in([message(case, offset=7)])
    assert refused.schema == REJECTED.polars
    sentence, value = refused["message"][0], refused["value"][0]
    assert sentence.startswith(f"{case.topic}/2/7")
    assert len(sentence) < 1200
    assert case.field is None or case.field in sentence
    assert not CONTROLS.search(sentence)
    assert value is None or (len(value) <= SHOWN_CHARACTERS and not CONTROLS.search(value))


@pytest.mark.parametrize("topic", sorted({case.topic for case in CASES.values()}))
def test_all_bad_messages_of_a_topic_at_once_are_refused_one_by_one(topic: str) -> None:
    bad = [case for case in CASES.values() if case.topic == topic]
    good, refused = taken_in([message(case, offset) for offset, case in enumerate(bad)])
    assert good == sum(case.good for case in bad)
    expected = [(offset, case.row, case.reason, case.field) for offset, case in enumerate(bad)]
    assert refused.select("offset", "row", "reason", "field").rows() == expected
