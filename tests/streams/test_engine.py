"""The Faust shell on a real Kafka: what it brings, keeps, commits, and how it ends."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from broker.admin import create_topics
from broker.embedded import EmbeddedKafka
from broker.ports import free
from tests.streams.processes import Process


@pytest.fixture
def run(kafka, tmp_path):
    """Return a function that starts a stage on a topic; the app's name is new for each test."""
    app, started = f"engine-{uuid.uuid4().hex[:8]}", []

    def start(topic, kind="echo", slot=0):
        log = tmp_path / f"{len(started)}.log"
        started.append(Process(log, "-m", "tests.streams.stages", kind, kafka.bootstrap, app, str(slot), topic))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def send(kafka):
    """Return a function that appends values to partition 0 of a topic."""

    def append(topic, *values):
        asyncio.run(_append(kafka.bootstrap, topic, values))

    return append


async def _append(bootstrap, topic, values):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for sent in [await producer.send(topic, value, b"key", partition=0) for value in values]:
            await sent


def test_it_brings_every_message_raw_once_and_goes_on_where_it_stopped(run, send, new_topic):
    topic = new_topic(partitions=2)
    send(topic, b"\xff\x00", None, b"{}")
    first = run(topic)
    first.wait_for("got 0 2 b'{}'")
    assert "got 0 0 b'\\xff\\x00'\ngot 0 1 None" in first.output
    assert first.terminate() < 5
    assert (first.end(), first.output.splitlines()[-1]) == (0, "closed")
    send(topic, b"more")
    second = run(topic)
    second.wait_for("got 0 3 b'more'")
    assert "assigned [(0, Place(offset=3, note='note 2'))]" in second.output
    assert second.output.count("got") == 1


def test_a_stage_places_itself_and_faust_does_not_undo_it(run, send, new_topic):
    """Fails where the seek happens in the assigned-signal: Faust's own seek to the committed offset follows it."""
    topic = new_topic()
    send(topic, b"a", b"b")
    first = run(topic)
    first.wait_for("got 0 1")
    first.terminate()
    again = run(topic, "rewound")
    assert again.wait_for("got 0 1").count("got 0 0") == 1


def test_an_exception_ends_the_process_with_one_line_and_nothing_is_committed_past_it(run, send, new_topic):
    topic = new_topic()
    send(topic, b"boom")
    first = run(topic)
    assert first.end(30) == 1
    (line,) = [line for line in first.output.splitlines() if "stops" in line]
    assert "ValueError: a value that nobody expected (" in line
    assert "stages.py:" in line
    assert "Traceback" not in first.output
    assert "assigned []" in run(topic).wait_for("got 0 0 b'boom'")


def test_a_service_of_faust_that_dies_ends_the_process_with_its_reason(run, send, new_topic):
    topic = new_topic()
    send(topic, b"crash")
    process = run(topic)
    assert process.end(30) == 1
    assert "stops: RuntimeError: a service of Faust's died" in process.output


def test_messages_that_retention_took_are_told_and_the_partition_begins_anew(run, send, new_topic, kafka):
    """Fails where the committed place is not compared: Faust jumps forward without a line (trap 8)."""
    topic = new_topic()
    send(topic, b"0")
    first = run(topic)
    first.wait_for("got 0 0")
    first.terminate()
    send(topic, b"1", b"2", b"3")
    asyncio.run(_delete_before(kafka.bootstrap, topic, 3))
    second = run(topic)
    second.wait_for("got 0 3")
    assert "2 messages are gone before they were read: expected offset 1, the log begins at 3" in second.output
    assert "dropped 0 3\ngot 0 3" in second.output


async def _delete_before(bootstrap, topic, offset):
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=offset)})
    await client.close()


def test_partitions_that_stay_through_a_rebalance_keep_their_place(run, send, new_topic):
    topic = new_topic(partitions=2)
    send(topic, b"0", b"1")
    first = run(topic)
    first.wait_for("got 0 1")
    second = run(topic, slot=1)
    second.wait_for("assigned")
    first.wait_for("dropped")
    send(topic, b"2")
    stayed = first if "dropped 1" in first.output else second
    stayed.wait_for("got 0 2")
    assert first.output.count("got 0 0") == 1
    assert second.output.count("got 0 0") == 0


def test_a_slow_stage_holds_the_readers_back_and_a_rebalance_in_the_middle_loses_nothing(run, send, new_topic):
    """Fails where a message whose queue is full is let go, or is waited for without hearing of the rebalance."""
    topic, count = new_topic(partitions=2), 1500
    send(topic, *(b"%d" % number for number in range(count)))
    first = run(topic, "slow")
    first.wait_for("got 0 300 ")
    second = run(topic, "slow", slot=1)
    second.wait_for("assigned")
    stayed = first if "dropped 1" in first.wait_for("dropped") else second
    stayed.wait_for(f"got 0 {count - 1} ", within_secs=60)
    for process in (first, second):
        got = [int(line.split()[2]) for line in process.output.splitlines() if line.startswith("got 0")]
        assert got == sorted(set(got))
    assert {line for p in (first, second) for line in p.output.splitlines() if line.startswith("got 0")} == {
        f"got 0 {number} {b'%d' % number}" for number in range(count)
    }


def test_a_second_process_of_one_slot_stands_by_until_the_first_one_ends(run, send, new_topic):
    topic = new_topic()
    first = run(topic)
    first.wait_for("assigned")
    second = run(topic)
    second.wait_for("standing by until it ends")
    assert "assigned" not in second.output
    first.kill()
    second.wait_for("assigned")


def test_a_worker_without_a_partition_says_so_and_ends(run, new_topic):
    topic = new_topic(partitions=1)
    run(topic).wait_for("assigned")
    spare = run(topic, "hasty", slot=1)
    assert spare.end(30) == 1
    assert "no partition was assigned within 3 s" in spare.output


def test_a_topic_that_is_missing_is_waited_for_with_one_line(run):
    process = run("no-such-topic")
    process.wait_for("waiting: topic no-such-topic does not exist")
    assert process.popen.poll() is None


@pytest.mark.kafka
def test_a_broker_that_is_away_for_a_while_is_waited_for(tmp_path):
    """No crash loop and few lines; what was sent before and after comes once."""
    topic = "telemetry.jobs.v1"
    with EmbeddedKafka(tmp_path / "kafka", port=free(1)[0], quick_start=True) as kafka:
        asyncio.run(create_topics(kafka.bootstrap))
        arguments = ("-m", "tests.streams.stages", "echo", kafka.bootstrap, "away", "0", topic)
        with Process(tmp_path / "away.log", *arguments) as process:
            _bounced(kafka, topic, process)


def _bounced(kafka, topic, process):
    asyncio.run(_append(kafka.bootstrap, topic, [b"before"]))
    process.wait_for("got 0 0")
    kafka.stop()
    process.wait_for("trouble with Kafka for")
    kafka.start()
    asyncio.run(_append(kafka.bootstrap, topic, [b"after"]))
    output = process.wait_for("got 0 1", within_secs=40)
    assert output.count("got") == 2
    assert output.count("wattline:") < 6
    assert process.terminate() < 5
