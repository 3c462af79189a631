"""Seconds of jobs out of roll up, by hand: who has which GPU when, late readings, late records, restarts."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from schemas.job import Allocation, Job, Placed, job_subject
from schemas.message import Message
from schemas.time import moment
from streams.job_book import JobBook
from streams.roll_up import GPU_TOPIC, RollUp
from tests.streams.log import START, Gpu, always, meters, microseconds, play, slots

NODE = 10
"""A node of rack 1 with GPUs 0 to 3."""


def record(offset: int, *, started: float | None, ended: float | None = None, gpus: tuple[int, int] = (0, 1), job="a"):
    at = [None if each is None else moment(microseconds(0)) + timedelta(seconds=each) for each in (started, ended)]
    said = Job(
        job=job, site="ruh", started=at[0], ended=at[1], allocations=[Allocation(NODE, gpus[0], gpus[1], path="n")]
    )
    return Placed(Message("telemetry.jobs.v1", 0, offset, 0, job.encode(), b"", ()), 0, said)


def rolling() -> RollUp:
    return RollUp(always(slots(), meters()), jobs=JobBook())


def seconds(until: int, *, power: int = 1000, first: int = 0) -> list[list[Gpu]]:
    """Return a message a second of the four GPUs of NODE: GPU n draws (power + n) · 0.1 W."""
    return [[Gpu(s + 0.5, 1, NODE, n, power + n, energy=s) for n in range(4)] for s in range(first, until)]


def told(roll_up: RollUp) -> pl.DataFrame:
    rows = roll_up.job_rows()
    assert rows is not None
    return rows.with_columns(at=pl.col("second").cast(pl.Int64) // 1_000_000 - START)


def test_a_job_has_the_gpus_of_its_node_from_its_first_whole_second_to_its_last() -> None:
    roll_up = rolling()
    roll_up.hear([record(4, started=1.2, ended=4.0)], 5)
    play(seconds(8), roll_up=roll_up)
    rows = told(roll_up)
    assert rows["at"].to_list() == [2, 3]
    assert rows["subject"].to_list() == [job_subject("ruh", "a")] * 2
    first = rows.row(0, named=True)
    assert (first["power_milliwatts"], first["power_max_milliwatts"]) == (200_100, 200_100)
    assert (first["reporting"], first["readings"], first["job_record"], first["partition"]) == (2, 2, 5, 0)
    assert (first["nameplate_milliwatts"], first["temperature_max_decicelsius"]) == (1_400_000, 400)
    assert (first["utilization_sum_e4"], first["utilization_count"]) == (10_000, 2)
    assert first["oldest_age_microseconds"] == 500_000


def test_two_jobs_on_one_gpu_share_no_second_where_one_follows_the_other() -> None:
    roll_up = rolling()
    roll_up.hear([record(0, started=0.0, ended=3.5), record(1, started=3.5, job="b")], 2)
    play(seconds(8), roll_up=roll_up)
    rows = told(roll_up)
    assert rows.filter(subject=job_subject("ruh", "a"))["at"].to_list() == [0, 1, 2, 3]
    assert rows.filter(subject=job_subject("ruh", "b"))["at"].to_list() == [4, 5, 6]


def test_a_late_reading_tells_only_the_job_that_it_touched_again() -> None:
    roll_up = rolling()
    roll_up.hear([record(0, started=0.0), record(1, started=0.0, gpus=(2, 3), job="b")], 2)
    play([*seconds(6), [Gpu(2.7, 1, NODE, 0, 5000)]], range(20), roll_up=roll_up)
    rows = told(roll_up).filter(at=2)
    assert rows["subject"].to_list().count(job_subject("ruh", "b")) == 1
    late = rows.filter(subject=job_subject("ruh", "a")).sort("readings")
    assert late["readings"].to_list() == [2, 3]
    assert late["power_milliwatts"].to_list() == [200_100, 600_100]


def test_a_record_that_comes_late_is_told_of_what_the_ring_has_and_asked_of_what_it_has_not() -> None:
    roll_up = rolling()
    play(seconds(40), roll_up=roll_up)
    assert roll_up.job_rows() is None
    roll_up.hear([record(0, started=5.0, ended=34.0)], 1)
    rows = told(roll_up)
    assert rows["at"].to_list() == [29, 30, 31, 32, 33]
    asked = [(each.first_second, each.end_second, each.reason, each.offset) for each in roll_up.asks()]
    assert asked == [(microseconds(5), microseconds(29), "jobs", 1)]


def test_a_record_that_ends_a_job_changes_nothing_before_its_end() -> None:
    roll_up = rolling()
    roll_up.hear([record(0, started=5.0)], 1)
    play(seconds(40), roll_up=roll_up)
    told(roll_up)
    roll_up.hear([record(1, started=5.0, ended=41.0)], 2)
    assert roll_up.job_rows() is None
    assert not roll_up.asking


def test_who_begins_again_asks_for_what_records_changed_that_nobody_had_heard() -> None:
    before = rolling()
    before.hear([record(0, started=3.0)], 1)
    log = seconds(60)
    play(log, roll_up=before)
    offset, note = before.places()[GPU_TOPIC, 0]
    assert note == f"{START + 40}/1/{START}"
    after = rolling()
    after.hear([record(0, started=3.0), record(1, started=-100.0, ended=20.0)], 2)
    play(log, roll_up=after, first=offset, note=note)
    asked = [(each.first_second, each.end_second, each.reason) for each in after.asks()]
    # Seconds 0 to 3 and 20 to 50 change: less than a minute apart, so one stretch. Of what lies before the first
    # second ever told there are no windows to be mended.
    assert asked == [(microseconds(0), microseconds(50), "jobs")]
    assert after.job_rows() is None


def test_without_jobs_nothing_is_told_and_no_ring_is_looked_at() -> None:
    roll_up = rolling()
    roll_up.hear([record(0, started=1_000.0)], 1)
    play(seconds(8), roll_up=roll_up)
    assert roll_up.job_rows() is None
