"""On a real Kafka: an evaluator that is killed again and again tells what an undisturbed one tells."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import msgspec
import numpy as np
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from click.testing import CliRunner
from logs import EXAMPLE, POWER, RULES, Logs, busy_hour, readings_of

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.facility import publish
from broker.producer import Producer
from schemas import arrow, partial
from schemas.admission import admit
from schemas.alert import Alert, decode_alert
from schemas.decode import decode
from schemas.facility import load
from schemas.message import Message
from schemas.meter import METER
from schemas.partial import OPEN_END, PARTIAL, Envelope, Partial
from schemas.registry import Registry
from schemas.rejected import REJECTED
from schemas.topics import BY_NAME
from schemas.window import WINDOW
from streams import snapshot
from streams.evaluate import Evaluator
from streams.watch import watch
from wattline.commands.alerts import command as alerts_verb

REPOSITORY = Path(__file__).parents[2]
STREAMS = [(topic, n) for topic in ("telemetry.gpu.v1", POWER) for n in range(BY_NAME[topic].partitions)]


@contextmanager
def an_evaluator(bootstrap: str, rules: Path, stderr: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "wattline", "worker", "evaluate", "--clock", "event", "--bootstrap", bootstrap]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([*command, "--rules", str(rules)], cwd=REPOSITORY, env=environment, stderr=stderr)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def rules_file(folder: Path) -> Path:
    lines = ["schema_version = 1"]
    for rule in RULES:
        lines.append("[[rules]]")
        given = rule.model_dump(exclude_defaults=True, exclude_none=True)
        lines += [f"{name} = {json.dumps(value)}" for name, value in given.items()]
    path = folder / "rules.toml"
    path.write_text("\n".join(lines))
    return path


def open_notes() -> list[Partial]:
    """Return idle notes of the partitions that nothing flows through."""
    idle = [stream for stream in STREAMS if stream not in ((POWER, 0), (POWER, 1))]
    return [Partial(Envelope(*stream, 0, 0, "idle", 0, OPEN_END, 0), PARTIAL.empty()) for stream in idle]


async def send_slowly(bootstrap: str, logs: Logs, keys: dict[int, bytes], secs: float) -> None:
    """Send the logs second by second: readings, then the partials of the second."""
    before = Counter(message.partition for message in await read_to_end(bootstrap, POWER))
    async with Producer(bootstrap) as producer:
        for note in open_notes():
            value, headers = partial.encode(note)
            await producer.send("windows.rack.v1", value, b"ruh", headers)
        steps = len(logs.power[0])
        each = -(-len(logs.partials) // steps)
        for step in range(steps):
            for partition, key in keys.items():
                rows = readings_of([logs.power[partition][step]]).select(METER.polars.keys())
                await producer.send(POWER, arrow.encode(METER, rows), key, arrow.headers(METER))
            for message in logs.partials[step * each : (step + 1) * each]:
                to_offset = message.envelope.to_offset + before[message.envelope.partition]
                envelope = msgspec.structs.replace(message.envelope, to_offset=to_offset)
                value, headers = partial.encode(Partial(envelope, message.rows))
                await producer.send("windows.rack.v1", value, b"ruh", headers)
            await asyncio.sleep(secs / steps)
        await producer.flush(within_secs=30)


async def keys_of_partitions(bootstrap: str) -> dict[int, bytes]:
    """Return a key that lands on partition 0 and one on 1, and leave the trial messages there, empty of rows."""
    keys: dict[int, bytes] = {}
    nothing = arrow.encode(METER, METER.empty())
    async with Producer(bootstrap) as producer:
        for number in range(64):
            key = f"group-{number}".encode()
            partition, _ = await (await producer.send(POWER, nothing, key, arrow.headers(METER)))
            keys.setdefault(partition, key)
    return {partition: keys[partition] for partition in (0, 1)}


def undisturbed(registry: Registry, power: list[Message], partials: list[Message]) -> list[Alert]:
    """Evaluate what lies in Kafka in one go."""
    evaluator = Evaluator(watch(RULES, registry), STREAMS)
    rows = admit(METER, decode(POWER, power, registry).frame, registry, clock="event").rows
    alerts = evaluator.read(rows, {message.partition: message.offset + 1 for message in power})
    for message in partials:
        said = partial.decode(message)
        evaluator.take(message.offset, said.envelope, said.rows)
    return alerts + evaluator.close().alerts


def once(alerts: list[Alert]) -> dict[tuple[object, ...], Alert]:
    return {alert.identity: alert for alert in alerts}


async def until_all_are_told(bootstrap: str, wanted: int, within_secs: float) -> dict[tuple[object, ...], Alert]:
    deadline = time.monotonic() + within_secs
    while True:
        told = once([decode_alert(message) for message in await read_to_end(bootstrap, "alerts.v1")])
        if len(told) >= wanted or time.monotonic() > deadline:
            return told
        await asyncio.sleep(0.2)


async def send_through_kills(bootstrap: str, logs: Logs, rules: Path, secs: float, lives: Iterator[float]) -> int:
    """Send the logs over so many seconds while evaluators live and are killed; return the number of kills."""
    sending = asyncio.create_task(send_slowly(bootstrap, logs, await keys_of_partitions(bootstrap), secs))
    kills = 0
    while not sending.done():
        with an_evaluator(bootstrap, rules):
            await asyncio.wait([sending], timeout=next(lives))
        kills += 1
    await sending
    return kills


def assert_all_is_told_once_more(bootstrap: str, registry: Registry, rules: Path) -> None:
    """Let a last evaluator read to the end; all that an undisturbed one tells is told, and nothing else."""
    power = asyncio.run(read_to_end(bootstrap, POWER))
    wanted = once(undisturbed(registry, power, asyncio.run(read_to_end(bootstrap, "windows.rack.v1"))))
    assert len(wanted) > 50
    with an_evaluator(bootstrap, rules):
        told = asyncio.run(until_all_are_told(bootstrap, len(wanted), within_secs=120))
    assert told.keys() == wanted.keys()
    assert told == wanted


def test_kills_change_nothing_that_is_told(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    bootstrap, rules = fresh_kafka.bootstrap, rules_file(tmp_path)
    registry = asyncio.run(publish(bootstrap, load(EXAMPLE)))
    logs = busy_hour(registry, seed=7, seconds=90)
    assert asyncio.run(send_through_kills(bootstrap, logs, rules, secs=12, lives=repeat(3.5))) >= 3
    assert_all_is_told_once_more(bootstrap, registry, rules)
    windows = arrow.decode(WINDOW, asyncio.run(read_to_end(bootstrap, "windows.site.v1")))
    assert windows.refused.is_empty() and windows.frame["every_seconds"].n_unique() == 2


def lose_the_snapshot(bootstrap: str, value: bytes | None) -> None:
    """Send what is no snapshot under the key of the evaluator's own."""

    async def send() -> None:
        async with Producer(bootstrap) as producer:
            await producer.send("alerts.state.v1", value, b"evaluate-0")
            await producer.flush(within_secs=30)

    asyncio.run(send())


def test_garbage_in_place_of_a_snapshot_is_refused_and_the_one_before_counts(
    fresh_kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    bootstrap, rules = fresh_kafka.bootstrap, rules_file(tmp_path)
    registry = asyncio.run(publish(bootstrap, load(EXAMPLE)))
    logs = busy_hour(registry, seed=12, seconds=60)
    assert asyncio.run(send_through_kills(bootstrap, logs, rules, secs=8, lives=repeat(3.5))) >= 1
    lose_the_snapshot(bootstrap, b"\x00garbage")
    with an_evaluator(bootstrap, rules):
        assert asyncio.run(until_refused(bootstrap, 1)) == {"alerts.state.v1": 1}
    assert_all_is_told_once_more(bootstrap, registry, rules)


def test_without_a_snapshot_all_is_read_again_and_told_as_before(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Kafka's places would go on behind what fired, and nothing would ever resolve it."""
    bootstrap, rules = fresh_kafka.bootstrap, rules_file(tmp_path)
    registry = asyncio.run(publish(bootstrap, load(EXAMPLE)))
    keys = asyncio.run(keys_of_partitions(bootstrap))
    asyncio.run(send_slowly(bootstrap, busy_hour(registry, seed=12, seconds=60), keys, secs=0))
    with an_evaluator(bootstrap, rules):
        assert asyncio.run(snapshots(bootstrap)) > 0
    before = len(asyncio.run(read_to_end(bootstrap, "alerts.v1")))
    lose_the_snapshot(bootstrap, None)
    with an_evaluator(bootstrap, rules):
        asyncio.run(until_messages(bootstrap, "alerts.v1", 2 * before))
    assert_all_is_told_once_more(bootstrap, registry, rules)


async def until_messages(bootstrap: str, topic: str, wanted: int) -> None:
    """Return when a topic has as many messages; fail after a while."""
    deadline = time.monotonic() + 20
    while (found := len(await read_to_end(bootstrap, topic))) < wanted:
        assert time.monotonic() < deadline, f"{topic} has {found} messages, wanted are {wanted}"
        await asyncio.sleep(0.2)


@pytest.mark.soak
def test_many_kills_at_any_moment_change_nothing_that_is_told(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    bootstrap, rules = fresh_kafka.bootstrap, rules_file(tmp_path)
    registry = asyncio.run(publish(bootstrap, load(EXAMPLE)))
    logs = busy_hour(registry, seed=11, seconds=1_200)
    draw = np.random.default_rng(11)
    lives = iter(lambda: float(draw.uniform(1.5, 5.0)), None)
    kills = asyncio.run(send_through_kills(bootstrap, logs, rules, secs=240, lives=lives))
    print(f"{kills} kills")
    assert_all_is_told_once_more(bootstrap, registry, rules)


def test_a_second_evaluator_stands_by_and_takes_over(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    bootstrap, rules = fresh_kafka.bootstrap, rules_file(tmp_path)
    registry = asyncio.run(publish(bootstrap, load(EXAMPLE)))
    keys = asyncio.run(keys_of_partitions(bootstrap))
    logs = busy_hour(registry, seed=8, seconds=20)
    with an_evaluator(bootstrap, rules) as first:
        asyncio.run(send_slowly(bootstrap, logs, keys, secs=0))
        assert asyncio.run(until_all_are_told(bootstrap, 1, within_secs=20))
        with an_evaluator(bootstrap, rules, stderr=subprocess.PIPE) as second:
            assert second.stderr is not None and b"standing by" in second.stderr.readline()
            first.kill()
            power = asyncio.run(read_to_end(bootstrap, POWER))
            partials = asyncio.run(read_to_end(bootstrap, "windows.rack.v1"))
            wanted = once(undisturbed(registry, power, partials))
            assert asyncio.run(until_all_are_told(bootstrap, len(wanted), within_secs=30)) == wanted
            assert asyncio.run(snapshots(bootstrap)) > 0


async def snapshots(bootstrap: str, wanted: int = 1) -> int:
    """Return how many snapshots there are, as many as wanted once the living evaluator has had its two seconds."""
    deadline = time.monotonic() + 15
    while (found := len(await read_to_end(bootstrap, "alerts.state.v1"))) < wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    return found


def a_further_snapshot(bootstrap: str) -> None:
    """Wait until the living evaluator has written what it knows by now."""
    before = asyncio.run(snapshots(bootstrap, 0))
    assert asyncio.run(snapshots(bootstrap, before + 1)) > before


GARBAGE = (b"", b"\x00\xff garbage", b"{", b"ARROW1" * 100, b"[" * 5_000, b'{"job": NaN}')
JUDGED_HERE = ("windows.rack.v1", "telemetry.jobs.v1", "telemetry.progress.v1")


def test_garbage_on_its_topics_is_refused_by_name_and_stops_nothing(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    bootstrap, rules = fresh_kafka.bootstrap, rules_file(tmp_path)
    registry = asyncio.run(publish(bootstrap, load(EXAMPLE)))
    keys = asyncio.run(keys_of_partitions(bootstrap))

    async def send_garbage() -> None:
        async with Producer(bootstrap) as producer:
            for topic in (POWER, *JUDGED_HERE):
                for value in GARBAGE:
                    await producer.send(topic, value, b"key", arrow.headers(METER) if topic == POWER else ())
            await producer.flush(within_secs=30)

    asyncio.run(send_garbage())
    asyncio.run(send_slowly(bootstrap, busy_hour(registry, seed=9, seconds=20), keys, secs=0))
    with an_evaluator(bootstrap, rules):
        assert asyncio.run(until_all_are_told(bootstrap, 1, within_secs=20))
        refused = asyncio.run(until_refused(bootstrap, len(JUDGED_HERE) * len(GARBAGE)))
        a_further_snapshot(bootstrap)
    told = len(asyncio.run(read_to_end(bootstrap, "telemetry.rejected.v1")))
    with an_evaluator(bootstrap, rules):
        a_further_snapshot(bootstrap)
    assert len(asyncio.run(read_to_end(bootstrap, "telemetry.rejected.v1"))) == told, "refused again after a restart"
    assert refused == {topic: len(GARBAGE) for topic in JUDGED_HERE}
    listed = CliRunner().invoke(alerts_verb, ["--bootstrap", bootstrap, "--state", "all", "--format", "json"])
    assert listed.exit_code == 0
    assert {alert["rule"] for alert in json.loads(listed.stdout)} >= {"rack-high"}


async def until_refused(bootstrap: str, wanted: int) -> Counter[str]:
    """Return the number of refused messages by topic, once there are as many as wanted or patience ends."""
    deadline = time.monotonic() + 15
    while True:
        frame = arrow.decode(REJECTED, await read_to_end(bootstrap, "telemetry.rejected.v1")).frame
        refused = frame.unique(["topic", "partition", "offset", "row"])["topic"]
        if len(refused) >= wanted or time.monotonic() > deadline:
            return Counter(refused.to_list())
        await asyncio.sleep(0.2)


def test_a_partition_that_the_snapshot_does_not_name_is_read_from_its_start(
    fresh_kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    """A first drain may bring one partition only; Kafka's place of the others is that of a life that was lost."""
    bootstrap, rules = fresh_kafka.bootstrap, rules_file(tmp_path)
    registry = asyncio.run(publish(bootstrap, load(EXAMPLE)))
    keys = asyncio.run(keys_of_partitions(bootstrap))
    asyncio.run(send_slowly(bootstrap, busy_hour(registry, seed=12, seconds=60), keys, secs=0))
    power = asyncio.run(read_to_end(bootstrap, POWER))
    wanted = once(undisturbed(registry, power, asyncio.run(read_to_end(bootstrap, "windows.rack.v1"))))
    with an_evaluator(bootstrap, rules):
        asyncio.run(until_all_are_told(bootstrap, len(wanted), within_secs=60))
        asyncio.run(until_committed(bootstrap, {(POWER, message.partition): message.offset + 1 for message in power}))
    before = len(asyncio.run(read_to_end(bootstrap, "alerts.v1")))
    evaluator, first = Evaluator(watch(RULES, registry), STREAMS), [each for each in power if each.partition == 0]
    rows = admit(METER, decode(POWER, first, registry).frame, registry, clock="event").rows
    told = evaluator.read(rows, {0: first[-1].offset + 1})
    lose_the_snapshot(bootstrap, snapshot.take(evaluator, {}).encode())
    with an_evaluator(bootstrap, rules):
        asyncio.run(until_messages(bootstrap, "alerts.v1", before + len(wanted) - len(once(told))))
    again = [decode_alert(message) for message in asyncio.run(read_to_end(bootstrap, "alerts.v1"))[before:]]
    assert once([*told, *again]).keys() == wanted.keys()


async def until_committed(bootstrap: str, places: dict[tuple[str, int], int]) -> None:
    """Return when the evaluator's group has committed these places."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(60):
            while True:
                found = await admin.list_consumer_group_offsets("evaluate")
                if all(found.get(TopicPartition(*at)) and found[TopicPartition(*at)].offset == offset
                       for at, offset in places.items()):  # fmt: skip
                    return
                await asyncio.sleep(0.2)
    finally:
        await admin.close()
