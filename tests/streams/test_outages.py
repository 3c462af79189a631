"""What happens to Kafka under roll up and the evaluator gives a sentence, an exit or a wait, and no silent gap."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from broker.admin import create_topics
from broker.embedded import EmbeddedKafka
from broker.ports import free
from schemas.errors import UnavailableError
from tests.streams.outage import (
    ALERTS,
    GPU_TOPIC,
    HIGH_WATTS,
    PARTIALS,
    POWER_TOPIC,
    WINDOWS,
    Site,
    create,
    delete,
    delete_records,
)

BEFORE, MEANWHILE, AFTER = range(20), range(20, 40), range(60, 80)


@contextlib.contextmanager
def told_site(kafka, folder):
    """Run a small site that was told the seconds of BEFORE."""
    with Site(kafka.bootstrap, folder) as running:
        running.run()
        running.send(BEFORE)
        running.wait_until_whole(BEFORE)
        yield running


@pytest.fixture
def site(fresh_kafka, tmp_path):
    with told_site(fresh_kafka, tmp_path) as running:
        yield running


@pytest.mark.kafka
def test_a_broker_that_is_killed_and_comes_back_is_waited_for_and_nothing_is_missing(tmp_path):
    with EmbeddedKafka(tmp_path / "kafka", port=free(1)[0], quick_start=True) as kafka:
        asyncio.run(create_topics(kafka.bootstrap))
        with told_site(kafka, tmp_path) as site:
            site.send(range(20, 30), HIGH_WATTS)
            kafka.nodes[0].kill()
            site.wait_to_hear("trouble with Kafka for")
            kafka.nodes[0].start()
            site.send(range(30, 40))
            site.wait_until_whole(range(40))
            assert site.alerts() == [("firing", 20), ("resolved", 30)]
            assert site.lines == []  # nobody ended


@pytest.mark.real
def test_a_disk_that_fills_up_is_waited_for_and_nothing_is_missing(small_disk, tmp_path):
    with EmbeddedKafka(small_disk / "kafka", port=free(1)[0], quick_start=True) as kafka:
        asyncio.run(create_topics(kafka.bootstrap))
        with told_site(kafka, tmp_path) as site:
            with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
                while filler.write(b"x" * 100_000):
                    pass
            with contextlib.suppress(UnavailableError):
                site.send(MEANWHILE, HIGH_WATTS, within_secs=5)
            site.wait_for(lambda: "because its disk is full" in (kafka.ended or ""))
            site.wait_to_hear("trouble with Kafka for")
            (small_disk / "filler").unlink()
            kafka.nodes[0].start()
            site.send(MEANWHILE, HIGH_WATTS)  # again: what was not acknowledged is its sender's to send
            site.send(range(40, 50))
            site.wait_until_whole(range(50))
            assert site.alerts() == [("firing", 20), ("resolved", 40)]


@pytest.mark.parametrize("topics", [(GPU_TOPIC, POWER_TOPIC), (PARTIALS,)])
def test_a_topic_that_is_deleted_is_told_and_waited_for_and_read_from_its_start_when_it_is_there(site, topics):
    for topic in topics:
        delete(site.bootstrap, topic)
    for topic in topics:
        site.wait_to_hear(topic)
        create(site.bootstrap, topic)
    site.wait_to_hear("was made anew")
    site.send(AFTER)
    site.wait_until_whole(AFTER)


def test_topics_made_anew_and_longer_than_what_was_read_of_them_are_read_whole(site):
    site.stop()
    for topic in (GPU_TOPIC, POWER_TOPIC):
        delete(site.bootstrap, topic)
        create(site.bootstrap, topic)
    seconds = range(60, 100)
    site.send(seconds)
    site.run()
    site.wait_until_whole(seconds)
    assert f"{POWER_TOPIC}/" in site.said
    assert "the topic was made anew since offset" in site.said


def test_what_was_deleted_before_it_was_read_is_told_and_asked_for_and_the_rest_is_whole(site):
    """Fails where only a line tells of it: the windows stay as poor as they are until somebody reads that line."""
    site.stop()
    site.send(MEANWHILE)
    for topic in (GPU_TOPIC, POWER_TOPIC):
        delete_records(site.bootstrap, topic)
    site.run()
    site.send(AFTER)
    site.wait_until_whole(AFTER)
    site.wait_to_hear("messages are gone before they were read")
    lacking = set(site.lacking(MEANWHILE))
    assert lacking
    site.wait_for(lambda: site.asked("lost") >= lacking)


def test_partials_that_expired_before_the_evaluator_read_them_are_asked_for(site):
    """Fails where nobody compares what was told with where the log goes on: roll up tells those seconds only once."""
    site.stop()
    site.run("roll-up")
    site.send(MEANWHILE)
    site.wait_for(lambda: site.closed() >= MEANWHILE[-2])
    delete_records(site.bootstrap, PARTIALS)
    site.run("evaluate")
    site.send(AFTER)
    site.wait_until_whole(AFTER)
    lacking = set(site.lacking(MEANWHILE))
    assert lacking
    site.wait_for(lambda: site.asked("lost") >= lacking)


def test_topics_that_are_written_and_deleted_are_told_and_written_again_when_they_are_there(site):
    """Fails where only topics that are read are watched: the alarm then speaks of a disk."""
    for topic in (WINDOWS, ALERTS):
        delete(site.bootstrap, topic)
    site.send(range(20, 30), HIGH_WATTS)
    site.wait_to_hear(f"topic {ALERTS}, {WINDOWS} is gone")
    for topic in (WINDOWS, ALERTS):
        create(site.bootstrap, topic)
    site.send(range(30, 40))
    site.wait_until_whole(MEANWHILE)
    site.wait_for(lambda: site.alerts() == [("firing", 20), ("resolved", 30)])
