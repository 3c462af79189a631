"""Two groups that roll up the same readings: what the evaluator makes of both is what it makes of one."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import Logs, PartialMessage, Run, busy_hour, metered, newest, small_campus
from polars.testing import assert_frame_equal

POWER_0 = ("telemetry.power.v1", 0)
REGISTRY, WATCHED = small_campus()


def both(partials: Sequence[PartialMessage], turns: Sequence[bool]) -> list[PartialMessage]:
    """Return one log into which two groups write the same; `turns` says whose turn it is, the rest follows."""
    rest = {True: list(partials), False: list(partials)}
    mixed = [rest[turn].pop(0) for turn in turns if rest[turn]] + rest[True] + rest[False]
    return [message._replace(offset=offset) for offset, message in enumerate(mixed)]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 50), st.lists(st.booleans(), max_size=400), st.integers(1, 40))
def test_what_is_told_is_what_one_group_leads_to(seed: int, turns: list[bool], at_once: int) -> None:
    logs = busy_hour(REGISTRY, seed=seed, seconds=20)
    alone = Run.begin(WATCHED, logs).to_the_end()
    twice = Run.begin(WATCHED, Logs(logs.power, both(logs.partials, turns)))
    while not twice.is_over:
        twice.drain({0: 3, 1: 3}, at_once)
    assert twice.told() == alone.told()
    assert_frame_equal(newest(twice.windows), newest(alone.windows))


def test_an_earlier_version_that_is_told_again_does_not_come_back() -> None:
    """Fails where the last in the log counts: the second group is behind, or a worker was restarted."""
    logs, meter = Logs(), REGISTRY.meters["meter"][0]
    for stream in (("telemetry.gpu.v1", 0), ("telemetry.power.v1", 1)):
        logs.partial(stream, "idle", 0, 10)
    for readings, kind in ((1, "closing"), (2, "revision"), (3, "revision"), (2, "revision")):
        logs.partial(POWER_0, kind, 0, 1, [metered(0, meter, 1000.0 * readings, readings)])
    run = Run.begin(WATCHED, logs)
    watts = []
    while not run.is_over:
        run.windows.clear()
        run.drain({}, 1)
        rows = pl.concat([each.rows for each in run.windows if each.every_seconds == 1] or [pl.DataFrame()])
        watts += rows.filter(pl.col("version_readings") > 0)["power_watts"].drop_nulls().to_list() if len(rows) else []
    assert max(watts) == watts[-1]
