"""Where a worker says it stands: the lag of each partition in seconds of append time."""

from __future__ import annotations

import asyncio

import pytest

from broker.standing import Standing
from schemas.message import Message
from streams.reading import Reading

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND
AT = ("telemetry.power.v1", 2)


def message(offset: int, age_secs: float) -> Message:
    return Message(*AT, offset, NOW - round(age_secs * SECOND), b"key", b"value")


async def no_ends(_: object) -> dict[tuple[str, int], int]:
    raise ConnectionError("the broker is away")


class Worker:
    """A reading of one partition from offset 10 on, and what was taken in of it."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.reading.assign({AT}, {AT: 10})
        self.taken: dict[tuple[str, int], tuple[int, int]] = {}
        self.standing = Standing(lambda: self.reading.stands(self.taken), no_ends)

    def fetch(self, *messages: Message) -> None:
        for each in messages:
            self.reading.append(each)

    def take(self) -> None:
        for each in self.reading.take()[0]:
            self.taken[AT] = each.offset, each.appended

    def stands(self, log_end: int | None, now: int = NOW) -> tuple[int | None, float | None]:
        (one,) = self.standing.at({} if log_end is None else {AT: log_end}, now)
        assert (one.topic, one.partition, one.log_end) == (*AT, log_end)
        return one.position, one.lag_seconds


def test_at_the_log_end_there_is_no_lag_however_old_the_last_message() -> None:
    worker = Worker()
    worker.fetch(message(10, age_secs=3600))
    worker.take()
    assert worker.stands(log_end=11) == (11, 0.0)


def test_what_was_fetched_and_waits_gives_the_lag_by_its_append_time() -> None:
    worker = Worker()
    worker.fetch(message(10, age_secs=9))
    worker.take()
    worker.fetch(message(11, age_secs=4), message(12, age_secs=1))
    assert worker.stands(log_end=13) == (11, 4.0)


def test_what_was_not_fetched_was_appended_after_what_was_taken_in_last() -> None:
    worker = Worker()
    worker.fetch(message(10, age_secs=7))
    worker.take()
    assert worker.stands(log_end=500) == (11, 7.0)


def test_a_message_after_an_hour_of_silence_is_not_an_hour_of_lag() -> None:
    worker = Worker()
    worker.fetch(message(10, age_secs=3600))
    worker.take()
    worker.stands(log_end=11, now=NOW - 5 * SECOND)
    assert worker.stands(log_end=12) == (11, 5.0)


def test_lag_is_not_known_before_anything_was_taken_in_and_never_below_zero() -> None:
    worker = Worker()
    assert worker.stands(log_end=500) == (10, None)
    worker.fetch(message(10, age_secs=-3))  # the broker's clock is ahead of ours
    assert worker.stands(log_end=500) == (10, 0.0)


def test_without_a_broker_positions_are_told_and_lag_is_not() -> None:
    worker = Worker()
    (one,) = asyncio.run(worker.standing())
    assert (one.position, one.log_end, one.lag_seconds) == (10, None, None)


def test_a_partition_that_was_given_away_and_comes_back_does_not_remember_its_log_end() -> None:
    worker = Worker()
    worker.stands(log_end=10, now=NOW - 2 * SECOND)
    worker.reading.assign(set(), {})
    assert worker.standing.at({}, NOW) == ()
    worker.reading.assign({AT}, {AT: 10})
    assert worker.stands(log_end=12) == (10, None)


def test_an_empty_partition_has_no_lag_though_nothing_was_ever_read() -> None:
    worker = Worker()
    worker.reading.assign(set(), {})
    worker.reading.assign({AT}, {})
    assert worker.stands(log_end=0) == (0, 0.0)


@pytest.mark.parametrize("log_end", [None, 10])
def test_a_partition_without_a_known_position_says_so(log_end: int | None) -> None:
    worker = Worker()
    worker.reading.assign(set(), {})
    worker.reading.assign({AT}, {})
    assert worker.stands(log_end) == (None, None)
