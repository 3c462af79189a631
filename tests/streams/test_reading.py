"""What was read and not yet drained; who stands still; what is logged."""

from __future__ import annotations

import logging

from schemas.message import Message
from streams.quiet import OnlyLasting
from streams.reading import Progress, Reading


def message(offset, partition=0):
    return Message("t", partition, offset, 0, None, b"x")


def reading(*starts):
    got = Reading()
    got.assign({("t", number) for number in range(len(starts))}, {("t", n): at for n, at in enumerate(starts)})
    return got


def test_messages_come_in_order_and_move_the_place():
    got = reading(5)
    for offset in (5, 6):
        got.append(message(offset))
    assert ([each.offset for each in got.take()[0]], got.next) == ([5, 6], {("t", 0): 7})
    assert got.take() == ([], None)


def test_a_message_of_a_partition_that_is_not_assigned_is_left_out():
    got = reading(0)
    got.append(message(0, partition=9))
    assert got.take() == ([], None)


def test_what_lies_before_a_jump_is_drained_before_it():
    got = reading(5, 0)
    for each in (message(5), message(0, 1), message(9), message(10), message(1, 1)):
        got.append(each)
    first, jump = got.take()
    assert [each.place for each in first] == ["t/0/5", "t/1/0"]
    assert (jump.message.offset, jump.expected) == (9, 6)
    assert [each.place for each in got.take()[0]] == ["t/0/9", "t/0/10", "t/1/1"]


def test_what_came_of_one_topic_is_taken_before_the_others():
    got = reading(5)
    got.assign({("t", 0), ("u", 0)}, {("t", 0): 5, ("u", 0): 0})
    for each in (message(5), Message("u", 0, 0, 0, None, b"x"), message(6)):
        got.append(each)
    assert [each.place for each in got.take_of("t")] == ["t/0/5", "t/0/6"]
    assert [each.place for each in got.take()[0]] == ["u/0/0"]


def test_nothing_is_taken_past_a_jump_before_it_is_told():
    got = reading(5, 0)
    for each in (message(5), message(9), message(0, 1)):
        got.append(each)
    assert got.take_of("t") == []
    assert [each.place for each in got.take()[0]] == ["t/0/5"]


def test_partitions_that_return_keep_their_place_and_what_is_pending():
    got = reading(5, 0)
    got.append(message(5))
    got.append(message(0, 1))
    got.assign({("t", 0), ("t", 2)}, {("t", 0): 1, ("t", 2): 3})
    assert got.next == {("t", 0): 6, ("t", 2): 3}
    assert [each.place for each in got.take()[0]] == ["t/0/5"]


def test_what_is_behind_is_known_by_the_place():
    got = reading(5)
    assert got.is_behind(message(4))
    assert not got.is_behind(message(5))
    assert not reading().is_behind(message(0))


def test_a_partition_that_stands_still_below_its_log_end_is_stuck():
    now = [0.0]
    watch = Progress(60, lambda: now[0])
    at, other = ("t", 0), ("t", 1)
    for second, position, expected in (
        (0, 5, ""),
        (50, 5, ""),
        (61, 5, "t/0"),
        (62, 6, ""),
        (120, 6, ""),
        (123, 6, "t/0"),
    ):
        now[0] = second
        assert watch.stuck({at: position, other: 9}, {at: 10, other: 9}) == expected


def test_the_clients_are_heard_where_trouble_lasts_and_we_always():
    now = [0.0]
    lasting = OnlyLasting(lambda: now[0])

    def said(name, at):
        now[0] = at
        record = logging.LogRecord(name, logging.ERROR, "f", 1, "no %s", ("broker",), None)
        return record.getMessage() if lasting.filter(record) else None

    assert [said("aiokafka.conn", at) for at in (0, 1, 20)] == [None] * 3  # blips: a start, a rebalance
    assert said("wattline.streams", 20) == "no broker"
    heard = [said("faust.app", 20 + tenth / 10) for tenth in range(200)]
    assert [line for line in heard if line] == [
        "trouble with Kafka for 3 s, trying on: no broker",
        "trouble with Kafka for 13 s, trying on: no broker",
    ]
