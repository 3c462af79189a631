"""aiokafka's lines at a rate that a person can read."""

from __future__ import annotations

import logging

from broker import client_logs


def test_each_kind_of_line_comes_once_in_its_time_with_the_number_of_those_held_back(caplog):
    logger = logging.getLogger("aiokafka.some_client")
    now = 100.0
    logger.addFilter(client_logs.Seldom(10.0, clock=lambda: now))
    for node in range(50):
        logger.warning("no connection to node %s", node)
    logger.warning("another kind")
    assert [record.getMessage() for record in caplog.records] == ["no connection to node 0", "another kind"]
    now += 10
    logger.warning("no connection to node %s", 51)
    assert caplog.records[-1].getMessage() == "no connection to node 51 (49 more such lines in 10 s)"


def test_a_client_is_silent_only_where_its_error_is_told_otherwise(caplog):
    logger = logging.getLogger("aiokafka.other_client")
    client_logs.limit_rate()
    with client_logs.silenced():
        logger.error("not told")
    logger.error("told")
    assert [record.getMessage() for record in caplog.records] == ["told"]
