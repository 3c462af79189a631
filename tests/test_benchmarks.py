"""Benchmarks that no other test runs, cut to seconds: what measures must not break unseen."""

from __future__ import annotations

from benchmarks.streams import linear


def test_both_stages_in_process_take_a_campus_from_readings_to_windows() -> None:
    """The stages are put together by hand there: what `open` gives them anew must be given there, too."""
    cost = linear.measure(1, warm_up_seconds=1, seconds=3)
    assert cost.racks == 1337
    assert cost.roll_up > 0
    assert cost.evaluate > 0
