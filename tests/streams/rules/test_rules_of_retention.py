"""The rule of sources that retention has cut: shown to fail without it.

That of a rack that is moved or registered in mid-second stands with its own proof in
tests/streams/test_facility_change.py.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

from history.coverage import IncompleteError
from history.from_lake import recomputed
from history.recompute import Span
from tests.history.small_lake import SECOND, START, Log, live, seconds_of_load, standing, two_racks, written
from tests.streams.rules.without import fails_without

CUT_AT = 100
"""What was appended before this second is gone when the lake's writer begins."""


@fails_without("history.from_lake:require_complete", lambda *anything: None, says="poorer and would win")
def test_where_retention_cut_the_source_no_poorer_window_takes_the_place_of_the_one_told_live() -> None:
    """A recomputation wins by its generation, so from rows that are not whole there must be none."""
    registry = two_racks()
    log = Log(registry)
    seconds_of_load(log, 0, 200)
    told = standing(live(registry, log.messages).windows)
    left = [each for each in log.messages if each.appended >= START + CUT_AT * SECOND]
    with tempfile.TemporaryDirectory() as folder:
        lake = written(Path(folder), registry, left)
        span = Span(START + (CUT_AT - 5) * SECOND, START + (CUT_AT + 5) * SECOND)
        try:
            again = [windows for minute in recomputed(lake, span, "wall") for windows in minute.windows]
        except IncompleteError as refused:
            assert "retention" in str(refused)
            return
    key = ["subject_kind", "subject", "every_seconds", "window_start"]
    both = standing(again).join(told, on=key, suffix="_live")
    poorer = both.filter(pl.col("version_readings") < pl.col("version_readings_live"))
    assert poorer.is_empty(), f"{len(poorer)} recomputed windows are poorer and would win"
