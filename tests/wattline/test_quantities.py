"""Quantities as people read them."""

from __future__ import annotations

import pytest

from wattline.quantities import age, share, watts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0.0, "0 W"),
        (7.4, "7 W"),
        (999.4, "999 W"),
        (999.6, "1.00 kW"),
        (42_195.0, "42.20 kW"),
        (118_300.0, "118.3 kW"),
        (9_840_000.0, "9.84 MW"),
        (149_960_000.0, "150.0 MW"),
        (2.1e9, "2.10 GW"),
    ],
)
def test_watts_keep_three_or_four_digits_and_a_missing_one_is_not_zero(value: float | None, text: str) -> None:
    assert watts(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "—"), (0.0, "0 %"), (0.824, "82 %"), (0.9512, "95.1 %"), (1.046, "104.6 %")]
)
def test_shares_show_a_decimal_where_it_matters(value: float | None, text: str) -> None:
    assert share(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (-0.2, "0.0 s"), (0.44, "0.4 s"), (119.0, "119 s"), (120.0, "2 min"), (7200.0, "2 h"), (2e6, "23 d")],
)
def test_ages_grow_in_units(seconds: float | None, text: str) -> None:
    assert age(seconds) == text
