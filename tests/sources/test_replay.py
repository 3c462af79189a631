"""The replay keeps the readings' own time, their order, and the pace that was asked for."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import msgspec
import polars as pl
import pytest

from schemas import arrow
from schemas.job import Job
from schemas.message import Message
from schemas.meter import METER
from sources.clock import Clock
from sources.publish import Publisher
from sources.recorded import site
from sources.recorded.replay import Recording, record, replay
from sources.recorded.runs import find
from tests.sources.recorded_logs import analyser_log, job_log, loadgen_log, node_log


class Log:
    """Keep what was sent, and when by the given clock, as a topic's log does."""

    def __init__(self, now=lambda: 0.0) -> None:
        self.messages: list[Message] = []
        self.times: list[float] = []
        self._now = now

    async def send(self, topic, value, *, key, headers):
        self.messages.append(Message(topic, 0, len(self.messages), 0, key, value, tuple(headers)))
        self.times.append(self._now())
        future = asyncio.get_running_loop().create_future()
        future.set_result((0, len(self.messages) - 1))
        return future

    def readings(self) -> pl.DataFrame:
        return arrow.decode(METER, [each for each in self.messages if each.topic == "telemetry.power.v1"]).frame

    def jobs(self) -> list[Job]:
        values = [each.value for each in self.messages if each.topic == "telemetry.jobs.v1"]
        return [msgspec.json.decode(value, type=Job) for value in values]


class Manual:
    """Tell a time that passes only while somebody waits for it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Two runs that overlap: a training run of two nodes, and an analyser's 60 s log beside it."""
    for node in range(2):
        node_log(tmp_path / "train" / "power" / "r" / f"node_{node}.txt", list(range(100, 130)), first=0.1 * node)
    job_log(tmp_path / "train" / "r.txt", 0, 58)
    analyser_log(tmp_path / "infer" / "spl.txt", list(range(200, 260)), first=10)
    loadgen_log(tmp_path / "infer" / "mlperf_log_detail.txt", 20, 40)
    found = find([tmp_path])
    meters = count(1)
    ids = {site.place(run, meter).path: next(meters) for run in found.runs for meter in run.meters}
    return record(found.runs, ids)


def test_readings_of_all_runs_go_out_in_the_order_of_their_own_time(recording: Recording) -> None:
    log = Log()
    asyncio.run(replay(recording, Publisher(log), "recorded/replay"))
    readings = log.readings()
    assert readings["time"].is_sorted()
    assert readings.select("meter").to_series().value_counts().sort("meter").rows() == [(1, 30), (2, 30), (3, 60)]
    assert {message.key for message in log.messages if message.topic == "telemetry.power.v1"} == {b"recorded/replay"}
    by_meter = readings.group_by("meter").agg("level", "interval_seconds").sort("meter")
    assert [set(levels) for levels in by_meter["level"]] == [{8}, {8}, {6}]
    assert [set(intervals) for intervals in by_meter["interval_seconds"]] == [{2.0}, {2.0}, {1.0}]


def test_at_full_speed_messages_are_large_and_jobs_follow_their_end(recording: Recording) -> None:
    log = Log()
    publisher = Publisher(log)
    asyncio.run(replay(recording, publisher, "recorded/replay"))
    assert [message.topic for message in log.messages] == ["telemetry.power.v1"] + 2 * ["telemetry.jobs.v1"]
    assert publisher.acknowledged == {"telemetry.power.v1": 120, "telemetry.jobs.v1": 2}
    assert [len(job.measured) for job in log.jobs()] == [1, 2]


@pytest.mark.parametrize(("speed", "seconds"), [(1, 69), (10, 6.9), (60, 1.1)])
def test_at_speed_n_a_reading_goes_out_when_its_time_has_come(
    recording: Recording, speed: float, seconds: float
) -> None:
    clock = Manual()
    log = Log(clock.now)
    asyncio.run(replay(recording, Publisher(log), "g", speed, Clock(clock.now, clock.sleep)))
    assert log.readings().height == 120
    assert log.times[-1] - log.times[0] == pytest.approx(seconds, abs=0.15)
    for message, at in zip(log.messages, log.times, strict=True):
        if message.topic == "telemetry.power.v1":
            elapsed = (arrow.decode(METER, [message]).frame["time"].max() - log.readings()["time"][0]).total_seconds()
            assert elapsed / speed - (at - log.times[0]) < 1 / speed + 0.1


def test_a_job_is_sent_when_it_has_ended_and_not_before(recording: Recording) -> None:
    clock = Manual()
    log = Log(clock.now)
    asyncio.run(replay(recording, Publisher(log), "g", 1, Clock(clock.now, clock.sleep)))
    sent = [at - log.times[0] for message, at in zip(log.messages, log.times, strict=True) if "jobs" in message.topic]
    assert sent == [pytest.approx(40, abs=1.1), pytest.approx(58, abs=1.1)]


def test_a_stretch_in_which_nothing_was_recorded_is_passed_over(tmp_path: Path) -> None:
    analyser_log(tmp_path / "a" / "spl.txt", [1, 2, 3])
    analyser_log(tmp_path / "b" / "spl.txt", [1, 2, 3], first=86_400 * 60)
    found = find([tmp_path])
    ids = {site.place(run, meter).path: index for index, run in enumerate(found.runs) for meter in run.meters}
    clock = Manual()
    asyncio.run(replay(record(found.runs, ids), Publisher(Log()), "g", 1, Clock(clock.now, clock.sleep)))
    assert clock.now() - 1000 == pytest.approx(2 + 60 + 2)


def test_a_second_replay_sends_the_same_rows_and_the_same_jobs(recording: Recording) -> None:
    first, second = Log(), Log()
    for log in (first, second):
        asyncio.run(replay(recording, Publisher(log), "recorded/replay"))
    assert [(each.key, each.value) for each in first.messages] == [(each.key, each.value) for each in second.messages]


def test_hours_of_a_large_run_are_cut_into_messages_of_a_sensible_size(tmp_path: Path) -> None:
    node_log(tmp_path / "node_1.txt", list(range(9_000)))
    found = find([tmp_path])
    ids = {site.place(run, meter).path: 1 for run in found.runs for meter in run.meters}
    log = Log()
    asyncio.run(replay(record(found.runs, ids), Publisher(log), "g"))
    assert [len(each.value) < 300_000 for each in log.messages if "power" in each.topic] == [True] * 5
