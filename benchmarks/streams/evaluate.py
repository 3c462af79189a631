"""What one evaluator costs at campus load, by part, and for how long it holds its event loop.

`python -m benchmarks.streams.evaluate [--seconds 70] [--parts] [--record FILE]` makes the readings and partials of some
seconds of the campus (1,337 racks, 62,104 GPUs, the shipped rules and instant ones, a minute's edge in the middle),
and gives them to the real stage in drains of 50 ms: all but Kafka and Faust. A hold is the CPU time between two
places where the stage lets the loop go on. Prints one JSON line a figure; `--parts` a table of parts on stderr too.
"""

from __future__ import annotations

import argparse
import gc
import pickle
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from benchmarks.campus import GPU_TOPIC, POWER_TOPIC, SECOND, START, Campus, Timed, campus_registry
from benchmarks.figures import tell
from benchmarks.stopwatch import Stopwatch
from benchmarks.streams.live import rules_file
from broker.health import Counted
from schemas import partial
from schemas.admission import admit
from schemas.decode import decode
from schemas.message import Message
from schemas.partial import Partial
from schemas.registry import Registry
from schemas.rules import load_rules
from schemas.timeline import Timeline
from schemas.topics import BY_NAME
from streams import closings, devices, evaluate_app, pieces, reading_rules, snapshot, sum_rules, sums
from streams.evaluate import PARTIALS_TOPIC, Evaluator
from streams.in_force import InForce
from streams.roll_up import RollUp
from streams.watches import Watches

WARM_UP_SECONDS = 8
DRAINS = 20
ROLL_UP_EVERY = 2
"""Roll up drains every 100 ms, the evaluator every 50."""
BREACHING = 200
STREAMS = [(topic, number) for topic in (GPU_TOPIC, POWER_TOPIC) for number in range(BY_NAME[topic].partitions)]


class Drain(NamedTuple):
    """What the evaluator finds when it looks: meter readings and partials."""

    readings: list[Message]
    partials: list[Message]


class Load:
    """Make the messages of each second: readings as collectors send them, partials as roll up makes them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._campus = Campus(registry)
        self._roll_up = RollUp(InForce.always(registry))
        for stream in STREAMS:
            self._roll_up.assign(stream, "", 0)
        self._offsets = dict.fromkeys(STREAMS, 0)
        self._partials = 0

    def second(self, second: int) -> list[Drain]:
        """Return the drains of one second, with the partials that its readings lead to."""
        drains = [Drain([], []) for _ in range(DRAINS)]
        came: list[list[Message]] = [[] for _ in range(DRAINS // ROLL_UP_EVERY)]
        for made in self._campus.messages(second, breaching=BREACHING):
            message = self._message(made)
            nth = message.appended % SECOND * DRAINS // SECOND
            came[nth // ROLL_UP_EVERY].append(message)
            if made.topic == POWER_TOPIC:
                drains[nth].readings.append(message)
        for nth, messages in enumerate(came):
            drains[nth * ROLL_UP_EVERY + 1].partials.extend(map(self._partial, self._rolled_up(messages)))
        return drains

    def _message(self, made: Timed) -> Message:
        partition = crc32(made.key) % BY_NAME[made.topic].partitions
        offset = self._offsets[made.topic, partition]
        self._offsets[made.topic, partition] += 1
        return Message(made.topic, partition, offset, made.at, made.key, made.value, tuple(made.headers))

    def _rolled_up(self, messages: list[Message]) -> Iterator[Partial]:
        for topic in (GPU_TOPIC, POWER_TOPIC):
            ours = [message for message in messages if message.topic == topic]
            ours.sort(key=lambda message: (message.partition, message.offset))
            record = BY_NAME[topic].record
            frame = decode(topic, ours, self._registry).frame
            rows = admit(record, frame, self._registry, clock="event").rows
            ends = {each.partition: each.offset + 1 for each in ours}
            yield from self._roll_up.feed(topic, rows, ends, 0)

    def _partial(self, made: Partial) -> Message:
        value, headers = partial.encode(made)
        self._partials += 1
        return Message(PARTIALS_TOPIC, 0, self._partials - 1, made.envelope.end_second, b"", value, tuple(headers))


class Acknowledged:
    """Be awaited without waiting."""

    def __await__(self) -> Iterator[None]:
        return iter(())


async def no_version(_: int) -> bool:
    """Hear of no other version of the facility."""
    return False


async def nothing() -> list[Message]:
    return []


class _Sent:
    """Take what the stage sends; `digests` by topic, so that two runs can be told to have sent the same."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.digests: dict[str, Any] = {}

    async def send(self, topic: str, value: bytes, key: bytes, headers: object = ()) -> Acknowledged:
        self.bytes[topic] = self.bytes.get(topic, 0) + len(value)
        if topic not in self.digests:
            self.digests[topic] = sha256()
        self.digests[topic].update(repr((len(value), key, headers)).encode() + value)
        return Acknowledged()

    async def flush(self) -> None:
        """Be done at once."""


def stage_of(registry: Registry) -> evaluate_app.EvaluateStage:
    """Return the stage as it is when it has opened, on nothing but what it is given."""

    stage = evaluate_app.EvaluateStage("", member="bench", clock="event", rules=None, is_first=True)
    timeline = Timeline.always(registry)
    with tempfile.TemporaryDirectory() as folder:
        stage._watches = Watches(load_rules(rules_file(Path(folder))), timeline)
    stage._facility = SimpleNamespace(timeline=timeline, hear=no_version)
    stage._job_log = SimpleNamespace(hear=nothing, next_offset=0)
    stage._engine = SimpleNamespace(
        counted=Counted(), topic_ids={}, came=lambda _: [], at_log_end=set, require_place=lambda: None
    )
    stage._evaluator = Evaluator(stage._watches, STREAMS)
    stage._producer = _Sent()
    return stage


def watched() -> Stopwatch:
    """Return a stopwatch on every part of the evaluator."""
    watch = Stopwatch()
    stage = evaluate_app.EvaluateStage
    for owner, name, part in (
        (stage, "_read", "readings: rest"),
        (evaluate_app, "admitted", "readings: decode and admission"),
        (reading_rules.ReadingRules, "read", "readings: rules"),
        (reading_rules, "read", "readings: values of gauges"),
        (reading_rules, "advance", "readings: machines"),
        (reading_rules, "alerts_of", "readings: alerts as words"),
        (reading_rules.ReadingRules, "pass_idle", "readings: idle notes and silence"),
        (evaluate_app, "decoded", "partials: decode"),
        (Evaluator, "take", "partials: take, rest"),
        (closings.Closings, "take", "partials: keep seconds"),
        (pieces.Pieces, "take", "partials: keep pieces"),
        (pieces.Pieces, "take_histogram", "partials: keep histograms"),
        (Evaluator, "close", "seconds: rest"),
        (closings.Closings, "close", "seconds: join what closes"),
        (closings.Closings, "revised", "seconds: revisions"),
        (sum_rules, "Sources", "seconds: rows to arrays"),
        (sum_rules, "subjects_of", "seconds: sums"),
        (sums, "_bounds", "seconds: bounds"),
        (sum_rules.SumRules, "_judge", "seconds: judge"),
        (sum_rules.SumRules, "_hush", "seconds: silence"),
        (sum_rules, "windows_of", "seconds: rows of windows"),
        (sum_rules, "minutes_of", "minutes: of seconds"),
        (sum_rules.SumRules, "_minutes", "minutes: rest"),
        (devices.DeviceMinutes, "close", "minutes: put on the list"),
        (devices.DeviceMinutes, "forget", "minutes: forget"),
        (devices.DeviceMinutes, "_of_devices", "minutes: GPUs and nodes"),
        (devices.DeviceMinutes, "_of_racks", "minutes: histograms of GPUs"),
        (devices.DeviceMinutes, "_of_subjects", "minutes: histograms of power"),
        (evaluate_app, "message_of", "messages: windows"),
        (evaluate_app, "message_of_minute", "messages: minutes"),
        (evaluate_app, "encode_alert", "messages: alerts"),
        (snapshot, "take", "snapshot: take"),
        (snapshot.Snapshot, "encode", "snapshot: encode"),
    ):
        watch.watch(owner, name, part)
    watch.watch_collections()
    return watch


class Held(NamedTuple):
    """CPU seconds of one hold of the loop, and where in the minute it was."""

    secs: float
    second: int


def holds(work: Coroutine[Any, Any, Any]) -> Iterator[float]:
    """Run a coroutine that waits for nothing but its turn; yield the CPU seconds between its turns."""
    while True:
        began = time.process_time()
        try:
            work.send(None)
        except StopIteration:
            yield time.process_time() - began
            return
        yield time.process_time() - began


def _reference() -> None:
    """Do what never changes: small numpy calls and some Python, so that runs on a busy machine can be compared."""
    numbers = np.arange(400)[::-1]
    for nth in range(1_000):
        np.where(np.sort(numbers) > nth, numbers, 0).tolist()


def recorded(registry: Registry, seconds: int) -> list[tuple[int, list[Drain]]]:
    """Return the seconds before a minute's edge and after it, by half."""
    edge = START + 60
    load = Load(registry)
    first = edge - seconds // 2 - WARM_UP_SECONDS
    return [(second, load.second(second)) for second in range(first, first + WARM_UP_SECONDS + seconds)]


def measure(found: list[tuple[int, list[Drain]]], registry: Registry, watch: Stopwatch) -> dict[str, float]:
    """Return figures: cores by group of parts, and holds of the loop."""
    stage, held, seconds = stage_of(registry), [], len(found) - WARM_UP_SECONDS
    gc.collect()
    gc.freeze()
    for nth, (second, drains) in enumerate(found):
        if nth == WARM_UP_SECONDS:
            watch.clear()
            held.clear()
        if nth % 2 == 0:
            stage._written_at = 0.0
        watch.time("(reference)", _reference)
        for drain in drains:
            held += [Held(secs, second % 60) for secs in holds(stage.drain([*drain.readings, *drain.partials]))]
            stage._written_at = time.monotonic()
    figures = {"evaluate: all": sum(each.secs for each in held) / seconds}
    figures["evaluate: reference work"] = watch.spent.pop("(reference)") / seconds
    for part, spent in watch.spent.items():
        group = f"evaluate: {part.split(':')[0]}"
        figures[group] = figures.get(group, 0.0) + spent / seconds
    secs = np.array([each.secs for each in held])
    figures["evaluate: longest hold"] = float(secs.max())
    figures["evaluate: hold, 99 of 100"] = float(np.quantile(secs, 0.99))
    for sent, size in stage._producer.bytes.items():
        figures[f"evaluate: bytes a second to {sent}"] = size / len(found)
    for sent, digest in sorted(stage._producer.digests.items()):
        print(f"{digest.hexdigest()[:16]}  {sent}", file=sys.stderr)
    print("longest holds (ms, second of the minute):", file=sys.stderr)
    worst = sorted(held, reverse=True)[:12]
    print("  " + " · ".join(f"{each.secs * 1000:.0f} at {each.second}" for each in worst), file=sys.stderr)
    return figures


def show(watch: Stopwatch, seconds: int) -> None:
    """Print the table of parts."""
    for part, spent in sorted(watch.spent.items(), key=lambda each: -each[1]):
        per_call = spent / watch.calls[part] * 1e6
        print(
            f"{spent / seconds * 1000:7.2f} ms a second"
            f"  {watch.calls[part] / seconds:7.1f} calls/s of {per_call:7.0f} µs"
            f"  longest {watch.longest[part] * 1000:6.1f} ms  {part}",
            file=sys.stderr,
        )


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=70)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--record", type=Path, help="keep the made messages in this file, or take them from it")
    given = parser.parse_args()
    registry = campus_registry()
    if given.record and given.record.exists():
        found = pickle.loads(given.record.read_bytes())
    else:
        found = recorded(registry, given.seconds)
        if given.record:
            given.record.write_bytes(pickle.dumps(found))
    watch = watched()
    figures = measure(found, registry, watch)
    if given.parts:
        show(watch, len(found) - WARM_UP_SECONDS)
    for name, value in figures.items():
        unit = "bytes" if "bytes" in name else "s" if "hold" in name else "core"
        tell(name, value, unit, most={"evaluate: all": 0.1, "evaluate: longest hold": 0.03}.get(name))


if __name__ == "__main__":
    main()
