"""A rack whose messages come in two partitions, in mid-piece: nothing of it is lost, nothing counts twice."""

from __future__ import annotations

from schemas.partial import Partial
from schemas.subject import SubjectKind
from tests.streams.log import Gpu
from tests.streams.test_device_minutes import MINUTES, Life, by_the_book, nobody, rolled_up, slot, steady

SECONDS = 200


def log_of(moving: range, staying: int) -> list[list[Gpu]]:
    """Return a log in which a GPU says something in some seconds, and another one, which stays, in all."""
    said = steady(moving, 0, power=lambda second: 3_000 + second)
    first = dict(zip(moving, said, strict=True))
    return [first.get(second, []) + steady(range(second, second + 1), staying)[0] for second in range(SECONDS)]


def side_by_side(*logs: list[list[Gpu]]) -> list[Partial]:
    """Return the partials of partitions in the order of their seconds."""
    told = [
        partial for number, log in enumerate(logs) for partial in rolled_up(log, number, list(range(0, SECONDS, 5)))
    ]
    return [nobody(10_000), *sorted(told, key=lambda each: each.envelope.watermark)]


def minutes_of_both(*logs: list[list[Gpu]]) -> tuple[dict[int, dict[str, object]], Life]:
    """Return the minutes of the moving GPU by their start, and the evaluator that told them."""
    life = Life(side_by_side(*logs)).to_the_end()
    node, gpu = slot(0)["node"], slot(0)["gpu"]
    mine = life.minutes().filter(subject_kind=int(SubjectKind.GPU), subject=node * 256 + gpu)
    return {int(row["window_start"].timestamp()): row for row in mine.iter_rows(named=True)}, life


def test_a_rack_whose_key_changes_partition_in_mid_piece_loses_nothing() -> None:
    logs = log_of(range(65), 4), log_of(range(65, SECONDS), 5)
    told, life = minutes_of_both(*logs)
    wanted = by_the_book(list(logs), MINUTES[:3])
    for minute in MINUTES[:3]:
        values = wanted[slot(0)["node"] * 256 + slot(0)["gpu"], minute]
        assert {name: told[minute][name] for name in values} == values
    assert life.evaluator.sums.is_asking, "nobody can tell from sums that no second is in both"


def test_seconds_that_two_partitions_have_count_once() -> None:
    logs = log_of(range(65), 4), log_of(range(60, SECONDS), 5)
    told, life = minutes_of_both(*logs)
    wanted = by_the_book([log_of(range(SECONDS), 4)], MINUTES[1:2])
    values = wanted[slot(0)["node"] * 256 + slot(0)["gpu"], MINUTES[1]]
    assert told[MINUTES[1]]["power_watts"] == values["power_watts"]
    assert life.evaluator.sums.is_asking


def test_what_two_partitions_say_alike_counts_once_and_needs_no_lake() -> None:
    log = log_of(range(SECONDS), 4)
    told, life = minutes_of_both(log, log)
    alone, _ = minutes_of_both(log, log_of(range(0), 5))
    assert told == alone
    assert not life.evaluator.sums.is_asking
