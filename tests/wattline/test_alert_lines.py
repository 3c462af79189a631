"""Alerts read as one line each: repeated and out-of-order transitions change nothing, nothing foreign prints."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from schemas.alert import Alert, Transition, alert_id, microseconds
from wattline.alert_lines import Once, as_json, as_lines, fold, told

START = datetime(2024, 7, 16, 7, 45, 50, tzinfo=UTC)
NOW = START + timedelta(minutes=10)


def alert(
    transition: Transition, secs: float, value: float | None = 134_600.0, *, fires: bool = True, **changes
) -> Alert:
    columns = {
        "id": alert_id("rack-over", "ruh/h1/r04/k17", microseconds(START)),
        "transition": transition,
        "rule": "rack-over",
        "rule_version": "1",
        "site": "ruh",
        "subject_kind": "rack",
        "subject": "ruh/h1/r04/k17",
        "severity": "critical",
        "start": START,
        "at": START + timedelta(seconds=secs),
        "fired": START + timedelta(seconds=30) if fires else None,
        "value": value,
        "limit": 132_000.0,
        "threshold": 132_000.0,
        "summary": "rack ruh/h1/r04/k17 draws 134.6 kW of 132.0 kW (102 %)",
    }
    return Alert(**(columns | changes))


LIFE = [
    alert("pending", 0, fires=False),
    alert("firing", 30, 135_000.0),
    alert("keeping", 60, 120_000.0),
    alert("continued", 65, 133_000.0),
    alert("resolved", 200, 118_000.0),
]


@pytest.mark.parametrize("seed", range(5))
def test_one_line_an_alert_whatever_is_told_twice_and_in_whatever_order(seed: int) -> None:
    log = LIFE * 2
    random.Random(seed).shuffle(log)
    (episode,) = fold(log)
    assert (episode.first, episode.fired, episode.last) == (LIFE[0], LIFE[1], LIFE[4])
    head, line = as_lines([episode], NOW)
    assert head.split("  ")[0] == "since (UTC)"
    assert line.split("  ") == [
        "2024-07-16 07:45:50", "critical", "resolved", "rack ruh/h1/r04/k17", "135.0 kW of 132.0 kW",
        "118.0 kW of 132.0 kW", "3 min 20 s", "rack-over",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("upto", "state", "is_firing"),
    [
        (1, "pending", False),
        (2, "firing", True),
        (3, "firing, below clear", True),
        (4, "firing", True),
        (5, "resolved", False),
    ],
)
def test_the_state_is_that_of_the_last_transition(upto: int, state: str, is_firing: bool) -> None:
    (episode,) = fold(LIFE[:upto])
    assert (episode.state, episode.is_firing) == (state, is_firing)


def test_what_ended_before_it_fired_was_withdrawn() -> None:
    (episode,) = fold([LIFE[0], alert("resolved", 5, fires=False)])
    assert episode.state == "withdrawn" and not episode.is_firing


def test_an_alert_that_is_not_over_lasts_until_now_and_unknown_is_not_zero() -> None:
    (episode,) = fold([*LIFE[:2], alert("stale", 120, None)])
    assert as_json(episode, NOW)["duration_seconds"] == 600
    assert as_json(episode, NOW)["value_last"] is None
    assert "—" in list(as_lines([episode], NOW))[1]


def test_no_control_characters_of_others_reach_the_terminal() -> None:
    evil = alert("firing", 0, summary="\x1b[2Jgone\nline", rule="\x07bell")
    lines = [told(evil), *as_lines(fold([evil]), NOW)]
    assert all(character.isprintable() for line in lines for character in line)


def test_a_transition_is_told_once() -> None:
    once = Once(remembered=3)
    assert [once.is_new(each) for each in [LIFE[0], LIFE[1], LIFE[0], LIFE[1]]] == [True, True, False, False]
