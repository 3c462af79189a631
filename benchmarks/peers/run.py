"""What others take for the same work: Kafka Streams and Faust with one reading a message, on the same broker.

`make bench-peers` (needs a JDK with javac) writes readings of the campus one a record, lets each make the sums of
racks by the second, waits until the last window is out, and prints readings per CPU-second of the whole process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from aiokafka import AIOKafkaProducer

from benchmarks.campus import SECOND, START, Campus, campus_registry
from benchmarks.figures import tell
from broker import jars
from broker.admin import create_topics
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.java import find
from schemas.errors import SetupError
from schemas.topics import Topic

BINARY, JSON, NOTHING, WINDOWS = "peer.binary", "peer.json", "peer.nothing", "peer.windows-"
STORES = ("memory", "rocksdb")
TOPICS = [
    Topic(name, 16, "rack", "delete", "readings, one a record", None, None, 1_048_588)
    for name in (BINARY, JSON, NOTHING, *(WINDOWS + store for store in STORES))
]
STREAMS_JARS = (
    jars.Jar("org.apache.kafka", "kafka-streams", "4.3.1", "", 0),
    jars.Jar("org.rocksdb", "rocksdbjni", "10.1.3", "", 0),
)
STREAMS_SECONDS, FAUST_SECONDS = 20, 4
RACKS = 1_337
LOOK_EVERY_SECS, ENDS_WITHIN_SECS = 2.0, 600.0
START_UP_SECS = 12.0


def readings(seconds: int) -> Iterator[tuple[int, int, int, float]]:
    """Yield time µs, rack, GPU and watts of each reading, at last one of every rack ten seconds on: it closes all."""
    campus = Campus(campus_registry())
    for second in range(START, START + seconds):
        frame = campus.gpu(second).select("time", "rack", "gpu", "power_watts").sort("time")
        yield from frame.with_columns(frame["time"].cast(int)).iter_rows()
    for rack in campus.registry.racks["rack"]:
        yield (START + seconds + 10) * SECOND, rack, 0, 0.0


async def write(bootstrap: str, topic: str, seconds: int) -> int:
    """Send the readings one a record and return how many."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=20, compression_type="zstd", max_batch_size=131_072
    )
    await producer.start()
    count = 0
    for time_micros, rack, gpu, watts in readings(seconds):
        if topic == BINARY:
            value = struct.pack(">qf", time_micros // 1000, watts)
        else:
            value = json.dumps(
                {"time": time_micros / 1e6, "rack": str(rack), "gpu": gpu, "power_watts": watts}
            ).encode()
        await producer.send(topic, value, struct.pack(">i", rack), partition=rack % 16)
        count += 1
    await producer.stop()
    return count


def kafka_streams(kafka: EmbeddedKafka, store: str, folder: Path, count: int) -> float:
    """Return readings per CPU-second of Kafka Streams, its start-up on an empty topic left out."""
    classpath = f"{folder}:{':'.join(str(jar) for jar in [*jars.verified(), *_streams_jars(folder)])}"
    source = Path(__file__).with_name("RackSeconds.java")
    subprocess.run(["javac", "-cp", classpath, "-d", str(folder), str(source)], check=True)
    argv = [str(find().program), "-XX:+UseSerialGC", "-Xmx1g", f"-Djava.io.tmpdir={folder}"]
    argv += ["-cp", classpath, "RackSeconds"]
    with (folder / "streams.log").open("wb") as log:
        idle = subprocess.Popen([*argv, kafka.bootstrap, NOTHING, WINDOWS + store, store], stdout=log, stderr=log)
        time.sleep(START_UP_SECS)
        start_up = _spent(idle.pid)
        idle.kill()
        idle.wait()
        shutil.rmtree(folder / "peer-state", ignore_errors=True)
        working = subprocess.Popen([*argv, kafka.bootstrap, BINARY, WINDOWS + store, store], stdout=log, stderr=log)
        _wait_for(kafka.bootstrap, WINDOWS + store, RACKS * STREAMS_SECONDS)
        spent = _spent(working.pid) - start_up
        working.kill()
        working.wait()
    return count / spent


def _streams_jars(folder: Path) -> list[Path]:
    return [jars._resolve(jar, folder / jar.artifact) for jar in STREAMS_JARS]


def _wait_for(bootstrap: str, topic: str, windows: int) -> None:
    """Return when so many windows are out."""
    deadline = time.monotonic() + ENDS_WITHIN_SECS
    while len(asyncio.run(read_to_end(bootstrap, topic))) < windows:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} has fewer than {windows} windows after {ENDS_WITHIN_SECS:.0f} s")
        time.sleep(LOOK_EVERY_SECS)


def _spent(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    if shutil.which("javac") is None:
        raise SetupError("javac is missing: `apt-get install --no-install-recommends openjdk-17-jdk-headless` (Debian)")
    with tempfile.TemporaryDirectory() as name, EmbeddedKafka(Path(name) / "kafka") as kafka:
        asyncio.run(create_topics(kafka.bootstrap, topics=TOPICS))
        count = asyncio.run(write(kafka.bootstrap, BINARY, STREAMS_SECONDS))
        for store in STORES:
            folder = Path(name) / store
            folder.mkdir()
            tell(
                f"peer: Kafka Streams 4.3.1, {store} store",
                kafka_streams(kafka, store, folder, count),
                "readings/CPU-second",
            )
        count = asyncio.run(write(kafka.bootstrap, JSON, FAUST_SECONDS))
        argv = [sys.executable, "-m", "benchmarks.peers.faust_json", kafka.bootstrap, JSON, str(count)]
        spent = float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[-1])
        tell("peer: Faust, one JSON reading a message", count / spent, "readings/CPU-second")


if __name__ == "__main__":
    main()
