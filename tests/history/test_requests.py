"""What is recomputed next: short stretches before long ones, long ones in slices, and nothing waits for ever."""

from __future__ import annotations

from history.recompute import MINUTE, SECOND
from history.requests import SLICE_MINUTES, Requests, next_slice
from schemas.message import Message
from schemas.recomputation import TOPIC, Answered, Asked, encode

START = 1_772_366_400 * SECOND
HOUR = 60 * MINUTE


def asked(site: str | None, first: int, end: int) -> Asked:
    return Asked(site, START + first, START + end, "late", "telemetry.gpu.v1", 0, 0)


def requests_of(*records: Asked | Answered) -> Requests:
    requests = Requests()
    for offset, each in enumerate(records):
        requests.take(Message(TOPIC, 0, offset, 0, None, encode(each), ()))
    return requests


def test_a_late_second_does_not_wait_for_six_hours_of_a_facility() -> None:
    requests = requests_of(asked(None, 0, 6 * HOUR), asked(None, 9 * HOUR, 9 * HOUR + SECOND))
    site, span = next_slice(requests.open.values(), oldest=False)
    assert (site, tuple(span)) == (None, (START + 9 * HOUR, START + 9 * HOUR + SECOND))
    requests.answered(Answered(site, *span, answers=2))
    assert list(requests.open) == [0]


def test_the_oldest_has_its_turn_and_goes_on_slice_by_slice() -> None:
    requests = requests_of(asked("ruh", 30 * SECOND, HOUR), asked(None, 2 * HOUR, 2 * HOUR + SECOND))
    slices = []
    while 0 in requests.open:
        site, span = next_slice(requests.open.values(), oldest=True)
        slices.append((span.first - START, span.end - START))
        requests.answered(Answered(site, *span, answers=1))
    assert slices[:2] == [(30 * SECOND, SLICE_MINUTES * MINUTE), (SLICE_MINUTES * MINUTE, 2 * SLICE_MINUTES * MINUTE)]
    assert (slices[-1][1], len(slices)) == (HOUR, 60 // SLICE_MINUTES)
    assert list(requests.open) == [1]


def test_a_restart_goes_on_after_the_slices_that_were_told() -> None:
    told = Answered(None, START, START + 5 * MINUTE, answers=2, generation=1)
    requests = requests_of(asked(None, 0, HOUR), asked("ruh", MINUTE, 2 * MINUTE), told, asked("ruh", 0, MINUTE))
    assert requests.open == {0: asked(None, 5 * MINUTE, HOUR), 3: asked("ruh", 0, MINUTE)}


def test_an_answer_for_one_site_leaves_those_for_others_open() -> None:
    told = Answered("ruh", START, START + HOUR, answers=3, generation=1)
    requests = requests_of(asked(None, 0, MINUTE), asked("dmm", 0, MINUTE), asked("ruh", 0, MINUTE), told)
    assert list(requests.open) == [0, 1]
