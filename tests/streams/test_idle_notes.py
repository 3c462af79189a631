"""Idle notes depend on a clock, so they may close seconds too early: what that costs a window is asked for."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from schemas.timeline import Timeline
from streams.stream import IDLE_AFTER_MICROSECONDS
from tests.streams.changing import FIRST, SECOND, START, STREAMS, Change, Workers, busy, cuts, versions
from tests.streams.test_facility_change import BEFORE, JOINED, LEFT

KEY = ["window_start", "subject_kind", "subject"]
END = START + (FIRST + 20) * SECOND
"""Before the ends of the logs."""


@pytest.mark.parametrize("seed", range(6))
def test_what_notes_of_a_wrong_clock_and_kills_leave_out_of_windows_is_asked_for(seed: int) -> None:
    """The clock says anything from five seconds before the log to half a minute after it, and workers are killed."""
    draw = np.random.default_rng(seed)
    published = versions(BEFORE, [Change(FIRST + 6, JOINED), Change(FIRST + 14, LEFT)])
    log = busy(Timeline.of(published, "wall"), seed)
    undisturbed = Workers.begin(list(published), log).to_the_end().stand()

    workers = Workers.begin(list(published), log)
    workers.clock = "wall"
    workers.restart_roll_up()
    snapshot = workers.snapshot()
    for step in cuts(draw, 25):
        workers.roll(step["roll"])
        now = START + (FIRST + int(draw.integers(-5, 40))) * SECOND + IDLE_AFTER_MICROSECONDS
        at_end = [stream for stream in STREAMS if draw.random() < 0.3]
        workers.partials += workers.roll_up.idle(at_end, now)
        workers.evaluate(step["read"], step["partials"])
        if step["event"] == "hear":
            workers.hear()
        elif step["event"] == "commit":
            workers.commit()
        elif step["event"] == "snapshot":
            snapshot = workers.snapshot()
        elif step["event"] == "kill" and draw.random() < 0.5:
            workers.restart_roll_up()
        elif step["event"] == "kill":
            workers.restart_evaluator(snapshot)
    wrong = _different(undisturbed, workers.to_the_end().stand())
    workers.snapshot(), workers.commit()

    asked = {
        second
        for each in workers.asked
        for second in range(each.first_second // SECOND, min(each.end_second, END) // SECOND)
    }
    assert wrong <= asked


def _different(one: pl.DataFrame, other: pl.DataFrame) -> set[int]:
    """Return the seconds of windows that are not the same in both, before the ends of the logs."""
    joined = one.join(other, on=KEY, how="full", suffix="_other", coalesce=True)
    same = [pl.col(name).eq_missing(pl.col(f"{name}_other")) for name in one.columns if name not in KEY]
    start = joined.filter(~pl.all_horizontal(same))["window_start"].cast(pl.Int64)
    return set((start.filter(start < END) // SECOND).to_list())
