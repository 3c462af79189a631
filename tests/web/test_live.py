"""The live state and its picture: what is true now, from messages in the order of their logs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from schemas import arrow, canary
from schemas.alert import Alert, alert_id, encode_alert, microseconds
from schemas.facility import load
from schemas.message import Message
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from schemas.window import WINDOW
from tests.web import states
from wattline import summary
from wattline.scales import facility_file
from web.live import ALERTS, KINDS, SUBJECTS, WINDOWS, LiveState

NOW = datetime(2026, 3, 1, 9, 0, 10, tzinfo=UTC)
SECOND = datetime(2026, 3, 1, 9, 0, 8)
RACK = "ruh/h1/r01/k03"


@pytest.fixture(scope="module")
def facility() -> Registry:
    return assign(load(facility_file("2MW")))


def window(
    facility: Registry, path: str, watts: float | None, kind: SubjectKind = SubjectKind.RACK, **more: Any
) -> dict:
    unbounded = {"window_start": SECOND, "power_low_watts": None, "power_high_watts": None}
    return states.window(facility, kind, path, watts) | unbounded | more


def windows(*rows: dict, offset: int = 0) -> Message:
    body = arrow.encode(WINDOW, pl.DataFrame(list(rows), schema=WINDOW.polars))
    return Message(WINDOWS, 0, offset, 0, b"ruh", body, tuple(arrow.headers(WINDOW)))


def alert(transition: str, at: datetime, *, summary: str = "", fired: bool = True, site: str = "ruh") -> Message:
    start = NOW - timedelta(seconds=60)
    told = Alert(
        id=alert_id("rack-over-budget", RACK, microseconds(start)),
        transition=transition,
        rule="rack-over-budget",
        rule_version="1",
        site=site,
        subject_kind="rack",
        subject=RACK,
        severity="critical",
        start=start,
        at=at,
        fired=start if fired else None,
        summary=summary,
    )
    return Message(ALERTS, 0, 0, 0, told.key, encode_alert(told))


def row(state: LiveState, path: str, kind: str = "rack") -> dict[str, Any]:
    return state.subjects(NOW).row(by_predicate=(pl.col("path") == path) & (pl.col("kind") == kind), named=True)


def text(state: LiveState, **options: int) -> str:
    console = Console(width=140, record=True, color_system=None)
    with console.capture() as capture:
        console.print(summary.picture(state, NOW, **options))
    return capture.get()


def test_every_subject_is_listed_before_anything_was_heard_and_none_of_them_is_zero(facility: Registry) -> None:
    state = LiveState(facility)
    subjects = state.subjects(NOW)
    assert dict(subjects.schema) == SUBJECTS
    assert subjects["kind"].unique(maintain_order=True).to_list() == [kind.name.lower() for kind in KINDS]
    assert subjects.filter(pl.col("kind") == "rack").height == facility.racks.height
    assert subjects["power_watts"].null_count() == len(subjects)
    assert state.newest is None


def test_a_rack_stands_against_the_least_of_its_limits(facility: Registry) -> None:
    state = LiveState(facility)
    state.take([windows(window(facility, RACK, 118_750.0))])
    rack = row(state, RACK)
    assert (rack["limit"], rack["limit_watts"]) == ("budget", 125_000.0)
    assert rack["fraction_of_limit"] == pytest.approx(0.95)
    assert (rack["reporting"], rack["expected"]) == (2, 2)
    assert rack["age_seconds"] == pytest.approx(1.5)


def test_the_nearest_to_its_limit_comes_first_and_the_silent_last(facility: Registry) -> None:
    state = LiveState(facility)
    loads = {"ruh/h1/r01/k01": 50_000.0, "ruh/h1/r01/k02": 0.0, RACK: 130_000.0, "ruh/h2/r01/k01": None}
    state.take([windows(*(window(facility, path, watts) for path, watts in loads.items()))])
    racks = state.subjects(NOW).filter(pl.col("kind") == "rack")
    assert racks["path"].to_list()[:3] == [RACK, "ruh/h1/r01/k01", "ruh/h1/r01/k02"]
    assert row(state, "ruh/h1/r01/k02")["power_watts"] == 0.0
    silent = row(state, "ruh/h2/r01/k01")
    assert (silent["power_watts"], silent["fraction_of_limit"], silent["reporting"]) == (None, None, 0)


def test_minutes_are_no_news_about_now(facility: Registry) -> None:
    state = LiveState(facility)
    state.take([windows(window(facility, RACK, 1.0, every_seconds=60))])
    assert state.newest is None


def test_minutes_are_passed_over_without_a_look_inside(facility: Registry) -> None:
    """They are bulky: of every GPU and node. Garbage inside shows that nobody decodes them here."""
    state = LiveState(facility)
    bulky = windows(window(facility, RACK, 1.0, every_seconds=60))._replace(value=b"\xff" * 50)
    said = b'{"site": "ruh", "kind": "closing", "every_seconds": %d, "first_second": 0, "end_second": 60}'
    state.take([bulky._replace(headers=(*bulky.headers, ("closing", said % 60)))])
    assert state.unreadable == 0
    second = windows(window(facility, RACK, 7.0))
    state.take([second._replace(headers=(*second.headers, ("closing", said % 1)))])
    assert row(state, RACK)["power_watts"] == 7.0


def closing(message: Message, second: datetime, **said: Any) -> Message:
    """Return the message with the header that the evaluator gives it."""
    start = microseconds(second.replace(tzinfo=UTC))
    said = {"site": "ruh", "kind": "closing", "every_seconds": 1, "first_second": start, "missing": []} | said
    said = {"end_second": start + 1_000_000, "subject_kinds": [SubjectKind.SITE, SubjectKind.RACK]} | said
    return message._replace(headers=(*message.headers, ("closing", json.dumps(said).encode())))


def test_what_is_said_again_of_seconds_past_is_passed_over_without_a_look_inside(facility: Registry) -> None:
    """Late readings revise seconds by the hundred a second: a look at each took half a core. Garbage shows a look."""
    state, before = LiveState(facility), SECOND - timedelta(seconds=1)
    garbage = windows(window(facility, RACK, 1.0))._replace(value=b"\xff" * 50)
    state.take([closing(windows(window(facility, RACK, 2.0)), SECOND)])
    state.take([closing(garbage, before, kind="revision")])
    state.take([closing(garbage, SECOND + timedelta(seconds=1), subject_kinds=[SubjectKind.JOB])])
    assert state.unreadable == 0
    state.take([closing(windows(window(facility, RACK, 3.0, version_readings=3)), SECOND, kind="revision")])
    assert row(state, RACK)["power_watts"] == 3.0


def test_a_second_in_which_a_site_was_silent_does_not_hide_what_is_said_of_those_before(facility: Registry) -> None:
    state, before = LiveState(facility), SECOND - timedelta(seconds=1)
    state.take([closing(windows(), SECOND, subject_kinds=[])])
    state.take([closing(windows(window(facility, RACK, 2.0, window_start=before)), before, kind="revision")])
    assert row(state, RACK)["power_watts"] == 2.0
    at_once = {"first_second": microseconds(SECOND.replace(tzinfo=UTC)) - 60_000_000}
    state.take([closing(windows(window(facility, RACK, 3.0, window_start=before)), SECOND, **at_once)])
    state.take([closing(windows(window(facility, RACK, 4.0, version_readings=3, window_start=before)), before)])
    assert row(state, RACK)["power_watts"] == 4.0


def test_of_alerts_that_are_over_the_newest_are_remembered_and_all_that_are_open(
    facility: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails where all of them are: an app that runs for months holds every alert there ever was."""
    monkeypatch.setattr("web.live.MOST_ENDED", 3)
    state = LiveState(facility)
    for nth in range(40):
        at = NOW - timedelta(seconds=200 - nth)
        told = json.loads(alert("firing" if nth in {0, 20} else "resolved", at).value or b"")
        body = json.dumps(told | {"id": f"{nth:032x}"}).encode()
        state.take([alert("firing", at)._replace(value=body)])
    assert len(state.open_alerts()) == 2
    ended = [int(each.id, 16) for each in state.alerts() if each.transition == "resolved"]
    assert 3 <= len(ended) <= 6
    assert ended == sorted(ended, reverse=True)
    assert ended[0] == 39


def test_of_the_canary_the_newest_firing_is_kept_and_nothing_is_shown(facility: Registry) -> None:
    state = LiveState(facility)
    times = [NOW - timedelta(seconds=secs) for secs in (300, 1, 600)]
    told = [alert("firing", at, site=canary.SITE)._replace(appended=microseconds(at) + 40_000) for at in times]
    state.take([*told, alert("resolved", NOW, site=canary.SITE)])
    assert state.canary is not None
    assert (state.canary.alert.at, state.canary.appended) == (times[1], times[1] + timedelta(milliseconds=40))
    assert state.alerts() == state.open_alerts() == []


@settings(deadline=None)
@given(order=st.permutations(range(4)))
def test_the_newest_second_and_of_it_the_greatest_version_stands_whatever_came_last(
    facility: Registry, order: list[int]
) -> None:
    rows = [
        window(facility, RACK, 1.0, window_start=SECOND - timedelta(seconds=1), version_generation=5),
        window(facility, RACK, 2.0),
        window(facility, RACK, 3.0, version_readings=3),
        window(facility, RACK, 4.0, version_readings=1),
    ]
    state = LiveState(facility)
    for offset, index in enumerate(order):
        state.take([windows(rows[index], offset=offset)])
    assert row(state, RACK)["power_watts"] == 3.0


def test_what_cannot_be_read_is_counted_and_costs_its_neighbours_nothing(facility: Registry) -> None:
    state = LiveState(facility)
    garbage = windows(window(facility, RACK, 9.0))._replace(value=b"\xff" * 50)
    state.take([garbage, Message(ALERTS, 0, 1, 0, b"k", b"{"), windows(window(facility, RACK, 7.0))])
    assert state.unreadable == 2
    assert row(state, RACK)["power_watts"] == 7.0


def test_an_alert_is_open_from_firing_until_resolved_and_repeats_change_nothing(facility: Registry) -> None:
    state = LiveState(facility)
    state.take([alert("pending", NOW - timedelta(seconds=60), fired=False)])
    assert state.open_alerts() == []
    firing = alert("firing", NOW - timedelta(seconds=50), summary="k03 draws 130 kW")
    state.take([firing, firing])
    assert [each.transition for each in state.open_alerts()] == ["firing"]
    resolved = alert("resolved", NOW - timedelta(seconds=5))
    state.take([resolved, firing])
    assert state.open_alerts() == []
    assert [each.transition for each in state.alerts()] == ["resolved"]


def test_what_a_second_group_tells_later_changes_nothing_even_where_an_alert_ended_in_its_first_instant(
    facility: Registry,
) -> None:
    state = LiveState(facility)
    firing, resolved = alert("firing", NOW), alert("resolved", NOW)
    state.take([firing, resolved, firing])
    assert state.open_alerts() == []
    state.take([resolved])
    assert [each.transition for each in state.alerts()] == ["resolved"]


def test_the_sentence_names_sites_silence_alerts_and_age(facility: Registry) -> None:
    state = LiveState(facility)
    site = window(facility, "ruh", 980_000.0, SubjectKind.SITE)
    state.take([windows(site, window(facility, RACK, 130_000.0))])
    state.take([alert("firing", NOW, summary="k03 draws 130.00 kW, over the 125.00 kW agreed for it")])
    shown = text(state)
    assert "dmm — of 600.0 kW · ruh 980.0 kW of 1.40 MW (70 %) ·" in shown.splitlines()[0]
    assert "1 of 18 racks report · 1 alert · data 1.0 s old" in shown
    assert "firing    critical k03 draws 130.00 kW" in shown
    assert "104.0 %" in shown


def test_silence_is_not_called_calm(facility: Registry) -> None:
    """Without fresh data nobody has looked for alerts: unknown is never OK."""
    state = LiveState(facility)
    assert "no alerts known · no data" in text(state)
    state.take([windows(window(facility, RACK, 1.0))])
    assert "no alerts · data 1.0 s old" in text(state)
    state.take([windows(window(facility, RACK, 1.0, window_start=SECOND - timedelta(seconds=30)))])
    late = NOW + timedelta(seconds=60)
    assert "no alerts known · data 61 s old — stale" in summary.sentence(state, state.subjects(late), late).plain


def test_zero_and_missing_are_told_apart_and_what_is_left_out_is_counted(facility: Registry) -> None:
    state = LiveState(facility)
    state.take([windows(window(facility, RACK, 0.0), window(facility, "ruh/h1/r01/k01", None))])
    lines = text(state, most=1).splitlines()
    rack = next(line for line in lines if RACK in line)
    assert "0 W" in rack
    assert "2/2" in rack
    assert any("17 more of kind rack, 17 silent" in line for line in lines)
    assert any(line.startswith("hall") and "—" in line for line in lines)


def test_words_of_others_cannot_move_the_cursor(facility: Registry) -> None:
    state = LiveState(facility)
    state.take([alert("firing", NOW, summary="evil \x1b[2J\x07 words")])
    shown = text(state)
    assert "\x1b" not in shown
    assert "evil \\x1b[2J\\x07 words" in shown


def test_json_holds_the_same_with_nulls_and_utc_times(facility: Registry) -> None:
    state = LiveState(facility)
    state.take([windows(window(facility, RACK, 0.0)), alert("firing", NOW)])
    told = json.loads(json.dumps(summary.as_json(state, NOW)))
    assert told["at"] == "2026-03-01T09:00:10Z"
    racks = {each["path"]: each for each in told["subjects"] if each["kind"] == "rack"}
    assert racks[RACK]["power_watts"] == 0.0
    assert racks[RACK]["window_start"] == "2026-03-01T09:00:08.000000Z"
    assert racks["ruh/h1/r01/k01"]["power_watts"] is None
    assert [each["transition"] for each in told["alerts"]] == ["firing"]
