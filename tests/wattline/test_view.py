"""Keys of `top`: which kind is shown and from where."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wattline.view import View, after

COUNTS = {"site": 2, "feed": 4, "rack": 100}


def press(keys: str, page: int = 10) -> View | None:
    view: View | None = View()
    for key in keys:
        assert view is not None
        view = after(view, key, COUNTS, page)
    return view


def test_f_walks_through_the_kinds_and_back_to_all_of_them() -> None:
    assert [press("f" * times) for times in range(5)] == [
        View(),
        View("site"),
        View("feed"),
        View("rack"),
        View(),
    ]


def test_scrolling_stops_at_both_ends() -> None:
    assert press("fffjj") == View("rack", 2)
    assert press("fffkk") == View("rack", 0)
    assert press("fffG") == View("rack", 90)
    assert press("fffG ") == View("rack", 90)
    assert press("fff bb") == View("rack", 0)
    assert press("fffGg") == View("rack", 0)
    assert press("ffG") == View("feed", 0)


def test_q_ends_it_and_another_kind_begins_at_its_top() -> None:
    assert press("fffjq") is None
    assert press("fffja") == View()
    assert press("ffjf") == View("rack", 0)


@given(st.text(alphabet="fajk bgGx?\x1b\n", max_size=40), st.integers(1, 200))
def test_no_keys_lead_out_of_the_list(keys: str, page: int) -> None:
    view = press(keys, page)
    assert view is not None
    assert 0 <= view.first <= max(COUNTS.get(view.kind or "", 0) - page, 0)
