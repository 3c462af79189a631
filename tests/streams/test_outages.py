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
    FACILITY,
    GPU_TOPIC,
    HIGH_WATTS,
    JOBS,
    PARTIALS,
    POWER_TOPIC,
    RACKS,
    WINDOWS,
    Site,
    add_partitions,
    create,
    delete,
    delete_records,
    key_of,
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


def test_a_facility_topic_made_anew_is_waited_for_and_then_followed(site):
    """Fails where it is not watched: what is published is read by nobody, and without a word."""
    delete(site.bootstrap, FACILITY)
    create(site.bootstrap, FACILITY)
    site.wait_to_hear("was made anew and holds no facility")
    site.send(MEANWHILE)
    site.wait_until_whole(MEANWHILE)
    site.publish({**RACKS, "k03": ("r02", 1, 2, 20_000.0)})
    site.wait_to_hear(f"topic {FACILITY} was made anew (id")
    site.send(AFTER)
    site.wait_until_whole(AFTER)


def test_partitions_that_are_added_to_readings_are_read_as_all_others(site):
    """Fails where their number is taken from the table: sums lack what is in them, and rules on one rack end."""
    keys = {}
    for topic, partitions, meanwhile in ((GPU_TOPIC, 18, range(20, 30)), (POWER_TOPIC, 6, range(30, 40))):
        add_partitions(site.bootstrap, topic, partitions)
        site.wait_to_hear(f"topic {topic} has {partitions} partitions now")
        keys[topic] = key_of(partitions - 1, partitions)
        site.send(meanwhile, keys=keys)
        site.wait_until_whole(meanwhile)
    site.send(range(60, 70), HIGH_WATTS, keys=keys)
    site.send(range(70, 80), keys=keys)
    site.wait_until_whole(AFTER)
    site.wait_for(lambda: site.alerts() == [("firing", 60), ("resolved", 70)])


def test_a_topic_made_anew_with_fewer_partitions_holds_nobody_up(site):
    """Fails where the evaluator waits for the partitions that are no more."""
    site.stop()
    for topic, partitions in ((GPU_TOPIC, 2), (POWER_TOPIC, 1)):
        delete(site.bootstrap, topic)
        create(site.bootstrap, topic, partitions)
    site.run()
    site.send(range(60, 70), HIGH_WATTS)
    site.send(range(70, 80))
    site.wait_until_whole(AFTER)
    site.wait_for(lambda: site.alerts() == [("firing", 60), ("resolved", 70)])


@pytest.mark.parametrize("topic", [PARTIALS, FACILITY])
def test_a_topic_that_must_be_one_log_and_is_two_is_refused_by_name(site, topic):
    add_partitions(site.bootstrap, topic, 2)
    site.wait_to_hear(f"topic {topic} has 2 partitions and must be one log")


def test_garbage_in_a_log_of_jobs_made_anew_is_refused_though_as_much_was_heard_of_the_old_one(site):
    """Fails where the place in the old log is taken for one in the new: below it nothing is refused by name."""
    site.send_jobs([b"none"] * 5)
    site.wait_for(lambda: len(site.refused(JOBS)) == 5)
    site.stop()  # with a snapshot of what was heard
    delete(site.bootstrap, JOBS)
    create(site.bootstrap, JOBS)
    site.send_jobs([b"none either"] * 2)
    site.run()
    site.wait_for(lambda: len(site.refused(JOBS)) == 7)
    site.wait_to_hear(f"{JOBS}/0: the topic was made anew since offset 5")
