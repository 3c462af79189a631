"""Windows recomputed from a lake: as live where nothing was late, and the truth where something was."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from history.coverage import IncompleteError, newest_event, read_positions, require_complete
from history.from_lake import recomputed
from history.recompute import MINUTE, Span
from schemas import arrow
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.message import Message
from schemas.meter import METER
from schemas.registry import Registry, assign
from schemas.rejected import REJECTED
from schemas.subject import SubjectKind
from sinks.lake.ledger import Ledger
from sinks.lake.positions import Source
from sinks.lake.tables import BY_NAME
from sinks.upkeep.compaction import compact_hour
from streams.devices import SiteMinute
from streams.roll_up import GPU_TOPIC, METER_TOPIC
from streams.site_windows import SiteWindows
from tests.history.small_lake import (
    SECOND,
    START,
    Log,
    live,
    publish_late,
    seconds_of_load,
    standing,
    two_racks,
    written,
)
from tests.schemas.small_facility import facility, site

GENERATION = pl.lit(0, pl.Int32).alias("version_generation")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return two_racks()


def all_of(lake: Path, first: int, end: int) -> list[SiteWindows]:
    span = Span(START + first * SECOND, START + end * SECOND)
    return [windows for minute in recomputed(lake, span, "wall") for windows in minute.windows]


def minutes_of(lake: Path, first: int, end: int) -> list[SiteMinute]:
    span = Span(START + first * SECOND, START + end * SECOND)
    return [each for minute in recomputed(lake, span, "wall") for each in minute.minutes]


def power(windows: list[SiteWindows], second: int, kind: SubjectKind, every: int = 1) -> float:
    rows = standing(windows).filter(subject_kind=int(kind), every_seconds=every)
    return rows.filter(pl.col("window_start").to_physical() == START + second * SECOND)["power_watts"].item(0)


def test_where_nothing_was_late_live_and_recomputed_windows_are_the_same_bit_for_bit(
    registry: Registry, tmp_path: Path
) -> None:
    log = Log(registry)
    seconds_of_load(log, 0, 130, skip=(31, 32, 33, 34, 35, 36, 37))
    told = live(registry, log.messages)
    lake = written(tmp_path, registry, log.messages)
    again = standing(all_of(lake, 0, 180))
    assert again["version_generation"].unique().to_list() == [1]
    assert set(again["every_seconds"]) == {1, 60}
    assert_frame_equal(again.with_columns(GENERATION), standing(told.windows))
    for table in ("windows", "histograms"):
        rows = standing(each for each in minutes_of(lake, 0, 180) if each.table == table)
        assert len(rows)
        assert_frame_equal(rows.with_columns(GENERATION), standing(m for m in told.minutes if m.table == table))


def test_a_reading_forty_seconds_late_is_in_the_recomputed_windows_and_these_win(
    registry: Registry, tmp_path: Path
) -> None:
    log = Log(registry)
    seconds_of_load(log, 0, 60, skip=(20,))
    meter = int(registry.meters["meter"][0])
    log.meter(20.3, meter, 40_000.0, partition=meter % 4, appended=60.9)
    seconds_of_load(log, 61, 70)
    told = live(registry, log.messages).windows
    again = all_of(written(tmp_path, registry, log.messages), 20, 25)
    assert {windows.kind for windows in again} == {"revision"}
    seconds = standing(again).filter(every_seconds=1)["window_start"].to_physical().unique().sort()
    assert seconds.to_list() == [START + second * SECOND for second in range(20, 25)]
    for second, every in ((20, 1), (21, 1), (0, 60)):
        assert power(again, second, SubjectKind.ROW, every) > power(told, second, SubjectKind.ROW, every) + 400
        assert power([*again, *told], second, SubjectKind.ROW, every) == power(again, second, SubjectKind.ROW, every)


def test_one_meter_in_two_partitions_is_heard_whole(registry: Registry, tmp_path: Path) -> None:
    """Two halves of a second, each with one worker: live one of them stands, the lake has both."""
    log, meter = Log(registry), int(registry.meters["meter"][0])
    for second in range(20):
        log.meter(second + 0.0, meter, 1_000.0, partition=0)
        log.meter(second + 0.5, meter, 3_000.0, partition=1)
    again = all_of(written(tmp_path, registry, log.messages), 5, 10)
    assert power(again, 7, SubjectKind.RACK) == 2_000.0


def test_retention_that_cut_the_source_refuses(registry: Registry, tmp_path: Path) -> None:
    log = Log(registry)
    seconds_of_load(log, 0, 400)
    kept = [each for each in log.messages if each.appended >= START + 100 * SECOND]
    lake = written(tmp_path, registry, kept)
    with pytest.raises(IncompleteError, match=r"the lake begins at offset \d+.*deleted by retention"):
        all_of(lake, 120, 130)
    assert all_of(lake, 370, 380)
    # By event time nothing says when what was deleted was measured.
    with pytest.raises(IncompleteError, match="retention"):
        require_complete(lake, Span(START + 370 * SECOND, START + 380 * SECOND), "event")


def test_rows_that_somebody_took_out_refuse(registry: Registry, tmp_path: Path) -> None:
    log = Log(registry)
    seconds_of_load(log, 0, 60)
    kept = [each for each in log.messages if (each.topic, each.partition, each.offset) != (METER_TOPIC, 1, 30)]
    with pytest.raises(IncompleteError, match=r"telemetry.power.v1/1: of offsets 30 to 30"):
        all_of(written(tmp_path, registry, kept), 10, 20)


def test_a_message_without_rows_is_refused_and_no_hole(registry: Registry, tmp_path: Path) -> None:
    log = Log(registry)
    seconds_of_load(log, 0, 30)
    log.send(METER_TOPIC, 1, METER, METER.empty(), START + 30 * SECOND)
    log.send(GPU_TOPIC, 1, GPU, GPU.empty(), START + 30 * SECOND)
    seconds_of_load(log, 30, 60)
    refusals = [
        decode(topic, [each for each in log.messages if each.topic == topic], registry).refused
        for topic in (GPU_TOPIC, METER_TOPIC)
    ]
    assert [frame["reason"].to_list() for frame in refusals] == [["empty"], ["empty"]]
    with pytest.raises(IncompleteError, match="neither rows nor refusals"):
        all_of(written(tmp_path / "before", registry, log.messages), 10, 20)
    published = arrow.encode(REJECTED, pl.concat(refusals))
    said = Message("telemetry.rejected.v1", 0, 0, START, b"k", published, tuple(arrow.headers(REJECTED)))
    assert all_of(written(tmp_path / "after", registry, [*log.messages, said]), 10, 20)


def test_messages_that_only_repeated_others_are_no_hole_when_compaction_has_dropped_their_rows(
    registry: Registry, tmp_path: Path
) -> None:
    """The oldest messages of a log, and some in its middle, of which no row stands any more."""
    log, told, ends = Log(registry), [], Counter()
    seconds_of_load(log, 0, 60)
    for message in log.messages:
        second = (message.appended - START) // SECOND
        for _ in range(3 if second < 2 or 30 <= second < 33 else 1):
            offset = ends[message.topic, message.partition]
            told.append(message._replace(offset=offset))
            ends[message.topic, message.partition] += 1
    lake = written(tmp_path, registry, told)
    before = standing(all_of(lake, 10, 50))
    for name in ("gpu", "power"):
        compacted = compact_hour(Ledger(BY_NAME[name], lake), "2026-03-01T12")
        assert compacted.dropped
    numbers = ("version_readings", "version_digest")
    assert_frame_equal(standing(all_of(lake, 10, 50)).drop(numbers), before.drop(numbers))


def test_each_recomputation_has_a_greater_generation(registry: Registry, tmp_path: Path) -> None:
    log = Log(registry)
    seconds_of_load(log, 0, 20)
    lake = written(tmp_path / "lake", registry, log.messages)
    assert {row["version_generation"].max() for _, *_, row in all_of(lake, 0, 5)} == {1}


def test_how_far_a_lake_has_come(registry: Registry, tmp_path: Path) -> None:
    log = Log(registry)
    seconds_of_load(log, 0, 5)
    lake = written(tmp_path, registry, log.messages)
    end = 1 + max(each.offset for each in log.messages if (each.topic, each.partition) == (METER_TOPIC, 1))
    assert read_positions(lake)[Source(METER_TOPIC, 1)] == end
    assert newest_event(lake) == START + round(4.3 * SECOND)
    assert read_positions(lake)[Source("facility.v1", 0)] == 1
    shutil.rmtree(tmp_path)
    assert (read_positions(lake), newest_event(lake)) == ({}, 0)


def test_a_span_is_cut_at_minutes() -> None:
    span = Span(START + 50 * SECOND, START + 130 * SECOND)
    assert span.minutes == Span(START, START + 3 * MINUTE)
    cut = [((part.first - START) // SECOND, (part.end - START) // SECOND) for part in span.by_minute()]
    assert cut == [(50, 60), (60, 120), (120, 130)]


def test_a_version_that_was_published_late_is_in_force_from_the_second_that_it_names(tmp_path: Path) -> None:
    """And what reported before anybody registered it is heard then, in whatever form it was sent."""
    before = two_racks()
    three = facility(site({"r01": {"type": "box", "first": 1, "last": 3}}))
    after = assign(three, before, effective_from=datetime(2026, 3, 1, 12, 0, 10))
    log = Log(before)
    seconds_of_load(log, 0, 30)
    for second in range(30):
        log.json_meter(second + 0.5, "ruh/h1/r01/k03/a", 7_000.0)
    lake = written(tmp_path, before, log.messages)
    publish_late(lake, after, 1, START + 25 * SECOND)
    again = all_of(lake, 5, 15)
    rack = after.id_of(SubjectKind.RACK, "ruh/h1/r01/k03")
    rows = standing(again).filter(subject_kind=int(SubjectKind.RACK), subject=rack, every_seconds=1)
    seconds = (rows["window_start"].to_physical() - START) // SECOND
    assert dict(zip(seconds, rows["power_watts"], strict=True)) == dict.fromkeys(range(10, 15), 7_000.0)
    assert set(rows["version_facility"]) == {2}
