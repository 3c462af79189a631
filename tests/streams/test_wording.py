"""Alerts in words: what is so now, with its unit, and never over a limit that it is back under."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streams.wording import keeping_words, quantity, resolved_words, span, stale_words


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.0, "W", "0 W"),
        (None, "W", "an unknown amount"),
        (999_950.0, "W", "1.00 MW"),
        (134_600.0, "W", "134.6 kW"),
        (412.04, "A", "412.0 A"),
    ],
)
def test_a_quantity_has_its_unit_and_zero_is_not_unknown(value: float | None, unit: str, words: str) -> None:
    assert quantity(value, unit) == words  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (200, "3 min 20 s"), (187_200, "2 d 4 h")])
def test_a_span_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_an_alert_that_is_back_under_its_limit_does_not_say_over() -> None:
    words = keeping_words("ruh/h1/r01/k01", value=114_900.0, unit="W", keep_secs=5)
    assert words == "ruh/h1/r01/k01 is back at 114.9 kW; the alert ends when it has stayed there for 5 s"


def test_silence_and_the_end_are_told_apart() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert "the alert stays" in stale_words("k01", at, fires=True)
    assert "withdrawn" in stale_words("k01", at, fires=False)
    assert (
        resolved_words("k01", value=0.0, unit="W", seconds=61, has_fired=True)
        == "k01 is at 0 W: resolved after 1 min 1 s"
    )
