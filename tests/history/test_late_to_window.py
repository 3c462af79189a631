"""From a reading that is too late, or two halves of a second, to the window that tells the truth, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from history.from_lake import recomputed
from history.requests import Requests, merged
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.message import Message
from schemas.meter import METER
from schemas.recomputation import TOPIC, Asked, encode
from schemas.registry import Registry
from schemas.subject import SubjectKind
from schemas.timeline import Timeline, admit_in_force
from streams.evaluate import Evaluator, SiteWindows
from streams.in_force import InForce
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.watches import Watches
from tests.history.small_lake import ALL, SECOND, START, Log, seconds_of_load, standing, two_racks, written


@pytest.fixture(scope="module")
def registry() -> Registry:
    return two_racks()


class Live:
    """One or two roll-up workers of the same partitions before one evaluator."""

    def __init__(self, registry: Registry, workers: int = 1) -> None:
        timeline = Timeline.always(registry)
        self.timeline = timeline
        self.workers = [RollUp(InForce.of(timeline)) for _ in range(workers)]
        for worker in self.workers:
            for partition in ALL:
                worker.assign(partition, "", 0)
        self.evaluator = Evaluator(Watches((), timeline), ALL)
        self.windows: list[SiteWindows] = []
        self._offset = 0

    def read(self, messages: Sequence[Message], worker: int = 0) -> None:
        for topic, record in ((GPU_TOPIC, GPU), (METER_TOPIC, METER)):
            some = [each for each in messages if each.topic == topic]
            rows = admit_in_force(
                record, decode(topic, some, self.timeline.places).frame, self.timeline, clock="wall"
            ).rows
            self._tell(self.workers[worker].feed(topic, rows, {each.partition: each.offset + 1 for each in some}, 0))

    def end(self) -> None:
        for worker in self.workers:
            self._tell(worker.idle(ALL, START + 3_600 * SECOND))

    def asks(self) -> list[Asked]:
        return [each for worker in self.workers for each in worker.asks()] + self.evaluator.sums.asks()

    def _tell(self, partials) -> None:
        for envelope, rows in partials:
            self.evaluator.take(self._offset, envelope, rows)
            self._offset += 1
            self.windows += self.evaluator.close().windows
        while self.evaluator.is_behind:
            self.windows += self.evaluator.close().windows


def answered(lake: Path, asked: Sequence[Asked]) -> list[SiteWindows]:
    requests = Requests()
    for offset, each in enumerate(asked):
        requests.take(Message(TOPIC, 0, offset, 0, None, encode(each), ()))
    return [
        windows
        for site, span in merged(requests.open.values())
        for minute in recomputed(lake, span, "wall", site)
        for windows in minute.windows
    ]


def power_of_row(windows: Sequence[SiteWindows], second: int) -> tuple[float, int]:
    rows = standing(windows).filter(subject_kind=int(SubjectKind.ROW), every_seconds=1)
    rows = rows.filter(pl.col("window_start").to_physical() == START + second * SECOND)
    return rows.select("power_watts", "version_generation").row(0)


def test_a_reading_forty_seconds_late_is_asked_for_and_its_window_wins(registry: Registry, tmp_path: Path) -> None:
    log = Log(registry)
    seconds_of_load(log, 0, 60)
    log.gpus(20.9, 1, 1_000.0, partition=1, appended=60.5)
    meter = int(registry.meters["meter"][0])
    log.meter(20.9, meter, 40_000.0, partition=meter % 4, appended=60.6)
    seconds_of_load(log, 61, 65)
    live = Live(registry)
    live.read(log.messages)
    live.end()
    asked = live.asks()
    assert {(each.reason, each.topic) for each in asked} == {("late", GPU_TOPIC), ("late", METER_TOPIC)}
    again = answered(written(tmp_path, registry, log.messages), asked)
    (before, _), (after, generation) = power_of_row(live.windows, 20), power_of_row([*live.windows, *again], 20)
    assert (after > before + 2_000, generation) == (True, 1)
    # A second of which nothing was late is not asked for, and stays the one that was told live.
    assert power_of_row([*live.windows, *again], 30) == power_of_row(live.windows, 30)


def test_two_workers_with_disjoint_halves_of_a_second_are_recomputed(registry: Registry, tmp_path: Path) -> None:
    """Two that believe they hold one partition each read every other message of it."""
    log, meter = Log(registry), int(registry.meters["meter"][0])
    for half in range(20):
        log.meter(half / 2, meter, 1_000.0 if half % 2 else 3_000.0, partition=0)
    live = Live(registry, workers=2)
    live.read(log.messages[0::2], worker=0)
    live.read(log.messages[1::2], worker=1)
    live.end()
    asked = live.asks()
    assert "conflict" in {each.reason for each in asked}
    again = answered(written(tmp_path, registry, log.messages), asked)
    for second in range(2, 7):
        assert power_of_row(live.windows, second)[0] in (1_000.0, 3_000.0)
        assert power_of_row([*live.windows, *again], second) == (2_000.0, 1)


def test_stretches_that_touch_minutes_are_one_and_a_request_for_all_takes_in_those_for_one_site() -> None:
    def asked(site: str | None, first: int, end: int) -> Asked:
        return Asked(site, START + first * SECOND, START + end * SECOND, "late", METER_TOPIC, 0, 0)

    found = merged([asked(None, 10, 20), asked(None, 70, 80), asked("ruh", 12, 13), asked("dmm", 300, 301)])
    seconds = [(site, (span.first - START) // SECOND, (span.end - START) // SECOND) for site, span in found]
    assert seconds == [(None, 10, 80), ("dmm", 300, 301)]
