"""Rules of sources whose clock is off, or that say nothing: each is shown to fail without its rule."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import polars as pl

from schemas import admission_rules
from schemas.column import Record
from schemas.facility import load
from schemas.registry import assign
from schemas.subject import SubjectKind
from streams.evaluate import Evaluator
from streams.in_force import InForce
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.watch import Watch, watch
from tests.streams.live_equals_lake.campus_log import CAMPUS, RULES, START, campus_log
from tests.streams.live_equals_lake.in_memory import Undisturbed, logs_of
from tests.streams.live_equals_lake.reference import KEY, greatest
from tests.streams.log import SECOND, Gpu, gpu_frame
from tests.streams.log import START as LOG_START
from tests.streams.rules.without import fails_without, told

AHEAD = "tst/h1/r02/k01"
TEN_MINUTES = pl.duration(minutes=10)


@cache
def campus() -> Watch:
    return watch(RULES, assign(load(CAMPUS)))


def without_clock_check(record: Record, clock: str) -> list[admission_rules.Rule]:
    return admission_rules.rules(record, "event")


def others(change: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Return the windows of racks and feeds, of all but AHEAD, whose readings are changed; GPUs share a partition."""
    registry = campus().registry
    sent = [
        each._replace(key=b"all", rows=change(each.rows) if each.key == AHEAD.encode() else each.rows)
        for each in campus_log(registry, 60, seed=5)
    ]
    run = Undisturbed(campus(), clock="wall").read(logs_of(sent), drains=4)
    kinds = (pl.col("subject_kind") == SubjectKind.FEED) | (
        (pl.col("subject_kind") == SubjectKind.RACK) & (pl.col("subject") != registry.id_of(SubjectKind.RACK, AHEAD))
    )
    windows = greatest(pl.concat(run.windows).filter(kinds, every_seconds=1))
    return windows.filter(pl.col("window_start").cast(pl.Int64) < (START + 55) * SECOND).sort(KEY)


@fails_without("schemas.admission:rules", without_clock_check, says="closed before their time")
def test_a_rack_whose_clock_is_ten_minutes_ahead_changes_no_window_of_another() -> None:
    """From the bytes on Kafka to the windows of the site: it is refused, so it moves no watermark."""
    ahead = others(lambda rows: rows.with_columns(pl.col("time") + TEN_MINUTES))
    absent = others(lambda rows: rows.clear())
    assert len(absent) > 300
    assert ahead.equals(absent), "windows of others closed before their time and lost their readings"


def no_notes(self: RollUp, at_log_end: object, now: int) -> list[object]:
    return []


@fails_without("streams.roll_up:RollUp.idle", no_notes, says="nobody's window closes")
def test_an_idle_source_is_left_out_after_a_bound_and_said_to_be() -> None:
    registry, streams = campus().registry, [(GPU_TOPIC, 0), (METER_TOPIC, 0)]
    roll_up, evaluator = RollUp(InForce.always(registry), clock="wall"), Evaluator(campus(), streams)
    now = (START + 1) * SECOND
    for stream in streams:
        roll_up.assign(stream, "", now)
    slots = registry.slots.head(1).select("rack", "node", "gpu").row(0)
    partials = []
    for second in range(8):
        said = gpu_frame([(second, [Gpu(START - LOG_START + second, *slots, 1000)])])
        partials += roll_up.feed(GPU_TOPIC, said, {0: second + 1}, now)
        now += SECOND
        partials += roll_up.idle({(METER_TOPIC, 0)}, now)
    for offset, (envelope, frame) in enumerate(partials):
        evaluator.take(offset, envelope, frame)
    windows = [each for each in evaluator.close().windows if len(each.rows) and each.every_seconds == 1]
    assert windows, "nobody's window closes while one partition is idle"
    told({each.missing for each in windows}, {((METER_TOPIC, 0),)}, "the idle source is not named")
