"""The Faust shell on a real Kafka: what it brings, keeps, commits, and how it ends."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from broker.admin import admin, create_topics
from broker.embedded import EmbeddedKafka
from broker.ports import free
from schemas.topics import Topic
from tests.streams.processes import Process


@pytest.fixture
def run(kafka, tmp_path):
    """Return a function that starts a stage on a topic; the app's name is new for each test."""
    app, started = f"engine-{uuid.uuid4().hex[:8]}", []

    def start(topic, kind="echo", slot=0):
        log = tmp_path / f"{len(started)}.log"
        started.append(Process(log, "-m", "tests.streams.stages", kind, kafka.bootstrap, app, str(slot), topic))
        start.last = started[-1]
        return start.last

    start.app = app
    yield start
    for process in started:
        process.kill()


@pytest.fixture
def send(kafka):
    """Return a function that appends values to partition 0 of a topic."""

    def append(topic, *values):
        asyncio.run(_append(kafka.bootstrap, topic, values))

    return append


async def _append(bootstrap, topic, values, partition=0):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for sent in [await producer.send(topic, value, b"key", partition=partition) for value in values]:
            await sent


def test_it_brings_every_message_raw_once_and_goes_on_where_it_stopped(run, send, new_topic):
    topic = new_topic(partitions=2)
    send(topic, b"\xff\x00", None, b"{}")
    first = run(topic)
    first.wait_for("got 0 2 b'{}'")
    assert "got 0 0 b'\\xff\\x00'\ngot 0 1 None" in first.output
    assert first.terminate() < 5
    ours = [line for line in first.output.splitlines() if "health.v1" not in line]  # which this Kafka has not
    assert (first.end(), ours[-1]) == (0, "closed")
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


def test_a_wedged_loop_ends_the_process_and_says_where_it_stood(run, send, new_topic):
    topic = new_topic()
    send(topic, b"sleep")
    process = run(topic, "wedged")
    assert process.end(30) == 1
    assert "stops: nothing has turned in it for 2 s; it stood at drain (" in process.output
    assert process.output.count("stages.py:") >= 1


def test_native_code_that_keeps_the_interpreter_is_ended_with_the_stacks(run, send, new_topic):
    """Fails with the thread alone: it waits for the interpreter as everybody else does."""
    topic = new_topic()
    send(topic, b"native")
    process = run(topic, "wedged")
    assert process.end(30) == 1
    assert "Timeout (" in process.output
    assert "in drain" in process.output


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (b"partition", "nothing came for 3 s of "),
        (b"thread", "the thread that reads from Kafka has not answered for 3 s"),
    ],
)
def test_a_worker_to_which_nothing_comes_any_more_ends(run, send, new_topic, how, words):
    """Fails where the log's end is asked of the thread that stands still: the loop turns, and waits for its answer."""
    topic = new_topic()
    send(topic, how)
    process = run(topic, "deaf")
    process.wait_for("got 0 0")
    time.sleep(1)
    send(topic, b"more")
    assert process.end(40) == 1
    assert f"stops: UnavailableError: {words}" in process.output


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


def test_messages_that_are_deleted_under_a_running_worker_are_told(run, send, new_topic, kafka):
    topic = new_topic()
    send(topic, b"0", b"1")
    process = run(topic)
    process.wait_for("got 0 1 ")
    process.pause()
    send(topic, *(b"x" * 20_000 for _ in range(200)))  # more than the fetch in flight may bring
    asyncio.run(_delete_before(kafka.bootstrap, topic, 200))
    process.go_on()
    output = process.wait_for("got 0 201 ")
    assert "messages are gone before they were read: expected offset" in output
    assert "the log begins at 200 and goes on at 200; this partition starts anew" in output
    assert "dropped 0 200\ngot 0 200" in output


def test_a_topic_that_is_deleted_is_told_and_waited_for_and_made_anew_is_read_from_its_start(
    run, send, new_topic, kafka
):
    topic, other = new_topic("deleted"), new_topic("other")
    send(topic, b"0", b"1")
    process = run(topic)
    process.wait_for("got 0 1")
    asyncio.run(delete(kafka.bootstrap, topic))
    process.wait_for(f"waiting: topic {topic} is gone from the Kafka at")
    assert process.popen.poll() is None
    asyncio.run(create_topics(kafka.bootstrap, topics=[made(topic)]))
    send(topic, *(b"new" for _ in range(5)))
    assert process.end(30) == 1
    assert f"topic {topic} was made anew (id " in process.output
    second = run(topic)
    assert second.wait_for("got 0 4 b'new'").count("got 0") == 5
    assert other not in process.output


def test_a_place_in_a_topic_that_was_made_anew_since_is_no_place_in_it(run, send, new_topic, kafka):
    """Fails where only offsets are compared: the new log goes on past the committed one as if it were the old.

    Kafka forgets the places of a deleted topic, but a worker that has not heard yet commits into the new one.
    """
    topic = new_topic("anew")
    send(topic, *(b"new" for _ in range(6)))
    asyncio.run(commit(kafka.bootstrap, run.app, topic, 3, "note 2 topic=6hZVbRZ5RQKhx8oVHMAjcg"))
    process = run(topic)
    output = process.wait_for("got 0 5 b'new'")
    assert f"{topic}/0: the topic was made anew since offset 3 was read; this partition starts anew at 0" in output
    assert "assigned []" in output
    assert output.count("got 0") == 6
    assert process.terminate() < 5
    assert "assigned [(0, Place(offset=6, note='note 5'))]" in run(topic).wait_for("assigned")


def test_a_topic_made_anew_and_shorter_is_told_at_once(run, send, new_topic, kafka):
    topic = new_topic("shorter")
    send(topic, b"0", b"1", b"2")
    first = run(topic)
    first.wait_for("got 0 2")
    asyncio.run(delete(kafka.bootstrap, topic))
    asyncio.run(create_topics(kafka.bootstrap, topics=[made(topic)]))
    send(topic, b"new")
    assert first.end(30) == 1
    assert "was made anew (id " in first.output
    assert run(topic).wait_for("got 0 0 b'new'").count("got") == 1


def test_partitions_that_a_topic_gains_are_read_by_a_worker_that_was_restarted(run, send, new_topic, kafka):
    """Fails with Kafka's clients alone: a static member that returns is given what it had, and nobody looks again."""
    topic = new_topic()
    send(topic, b"0")
    run(topic).wait_for("got 0 0")
    run.last.terminate()
    second = run(topic)
    second.wait_for("assigned [(0")
    asyncio.run(_add_partition(kafka.bootstrap, topic))
    asyncio.run(_append(kafka.bootstrap, topic, [b"1"], partition=1))
    second.wait_for("got 1 0 b'1'")
    assert second.output.count("got 0") == 0


async def _add_partition(bootstrap, topic):
    async with admin(bootstrap) as client:
        await client.create_partitions({topic: NewPartitions(2)})


def made(name):
    return Topic(name, 1, "key", "delete", "a test's messages")


async def delete(bootstrap, topic):
    async with admin(bootstrap) as client:
        await client.delete_topics([topic])
        while topic in await client.list_topics():
            await asyncio.sleep(0.02)


async def commit(bootstrap, group, topic, offset, note):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(offset, note)})
    await consumer.stop()


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


def test_a_placing_that_a_rebalance_interrupts_is_made_whole_before_the_next_one(run, send, new_topic):
    """Fails where Faust's giving up ends the worker, or leaves partitions of the stage's that the engine has not."""
    topic = new_topic(partitions=2)
    send(topic, b"0")
    first = run(topic, "held-placing")
    first.wait_for("holding")
    second = run(topic, slot=1)
    second.wait_for("assigned")
    first.wait_for("dropped")
    send(topic, b"1")
    stayed = first if "dropped 1 None" in first.output else second
    stayed.wait_for("got 0 1 ")
    lines = [line for line in first.output.splitlines() if line.startswith(("assigned", "dropped"))]
    assert [line.split()[0] for line in lines] == ["assigned", "dropped", "assigned"]
    assert [(first.output + second.output).count(f"got 0 {offset} ") for offset in (0, 1)] == [1, 1]


def test_a_placing_that_takes_too_long_ends_the_worker_before_faust_reads_on_without_it(run, new_topic):
    process = run(new_topic(), "never-placed")
    assert process.end(30) == 1
    assert "stops: UnavailableError: no place to read from within 2 s: is the broker away?" in process.output


def test_a_placing_that_is_given_up_while_it_waits_for_a_drain_leaves_nothing(run, send, new_topic, kafka):
    """Fails where a rebalance within a rebalance ends a worker: two workers that start while a drain is long."""
    topic = new_topic(partitions=3)
    first = run(topic, "held-drain")
    first.wait_for("assigned")
    send(topic, b"hold")
    first.wait_for("holding")
    for slot in (1, 2):
        run(topic, slot=slot).wait_for("assigned")
    first.wait_for("dropped", times=2)
    (kept,) = (partition for partition in range(3) if f"dropped {partition} None" not in first.output)
    asyncio.run(_append(kafka.bootstrap, topic, [b"more"], partition=kept))
    first.wait_for(f"got {kept} {int(kept == 0)} b'more'")
    assert first.output.count("b'hold'") == 1


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
