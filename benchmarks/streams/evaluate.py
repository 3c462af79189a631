"""What one evaluator costs at campus load: 1,337 racks, 2,674 meters, one reading a second each, default rules.

Replays seconds of a campus through the pure evaluator with the drains of the live app (50 ms) and counts
CPU: decode and admission of readings, evaluation, partials, windows as Arrow, snapshots. No broker.
Prints one JSON line a figure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from zlib import crc32

import numpy as np

from benchmarks.campus import GPU_TOPIC, POWER_TOPIC, SECOND, START, Campus, Timed, campus_registry
from benchmarks.figures import tell
from schemas import arrow, partial
from schemas.admission import admit
from schemas.decode import decode
from schemas.message import Message
from schemas.meter import METER
from schemas.partial import Partial
from schemas.registry import Registry
from schemas.rules import default_rules
from schemas.topics import BY_NAME
from schemas.window import WINDOW
from streams import snapshot
from streams.evaluate import PARTIALS_TOPIC, Evaluator
from streams.in_force import InForce
from streams.roll_up import RollUp
from streams.watch import watch

WARM_UP_SECONDS = 5
DRAINS = 20
STREAMS = [(topic, number) for topic in (GPU_TOPIC, POWER_TOPIC) for number in range(BY_NAME[topic].partitions)]


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

    def second(self, second: int) -> tuple[list[list[Message]], list[Message]]:
        """Return the meter readings of one second by drain, and the partials that the second leads to."""
        messages: dict[str, list[Message]] = {GPU_TOPIC: [], POWER_TOPIC: []}
        for made in self._campus.messages(second):
            messages[made.topic].append(self._message(made))
        drains: list[list[Message]] = [[] for _ in range(DRAINS)]
        for message in messages[POWER_TOPIC]:
            drains[message.appended % SECOND * DRAINS // SECOND].append(message)
        return drains, [self._partial(partial) for topic in messages for partial in self._rolled_up(messages[topic])]

    def _message(self, made: Timed) -> Message:
        partition = crc32(made.key) % BY_NAME[made.topic].partitions
        offset = self._offsets[made.topic, partition]
        self._offsets[made.topic, partition] += 1
        return Message(made.topic, partition, offset, made.at, made.key, made.value, tuple(made.headers))

    def _rolled_up(self, messages: list[Message]) -> list[Partial]:
        messages = sorted(messages, key=lambda message: (message.partition, message.offset))
        topic, record = messages[0].topic, BY_NAME[messages[0].topic].record
        frame = decode(topic, messages, self._registry).frame
        rows = admit(record, frame, self._registry, clock="event").rows
        return self._roll_up.feed(topic, rows, {each.partition: each.offset + 1 for each in messages}, 0)

    def _partial(self, made: Partial) -> Message:
        value, headers = partial.encode(made)
        self._partials += 1
        return Message(PARTIALS_TOPIC, 0, self._partials - 1, made.envelope.end_second, b"", value, tuple(headers))


class Stopwatch:
    """Add up the CPU seconds of named parts."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def time(self, name: str, work: Callable[[], object]) -> object:
        """Do `work` and count its CPU under `name`."""
        began = time.process_time()
        result = work()
        self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - began
        return result


def measure(seconds: int) -> dict[str, float]:
    registry = campus_registry()
    load = Load(registry)
    evaluator, stopwatch = Evaluator(watch(default_rules(), registry), STREAMS), Stopwatch()
    alerts, latencies = 0, []
    for second in range(-WARM_UP_SECONDS, seconds):
        drains, partials = load.second(START + second)
        if second == 0:
            stopwatch.spent.clear()
            alerts = 0
        for messages in drains:
            if not messages:
                continue
            began = time.perf_counter()
            decoded = stopwatch.time("decode readings", lambda m=messages: decode(POWER_TOPIC, m, registry).frame)
            rows = stopwatch.time("admit readings", lambda d=decoded: admit(METER, d, registry, clock="event").rows)
            ends = {message.partition: message.offset + 1 for message in messages}
            alerts += len(stopwatch.time("evaluate readings", lambda r=rows, e=ends: evaluator.read(r, e)))
            latencies.append(time.perf_counter() - began)
        for message in partials:
            said = stopwatch.time("decode partials", lambda m=message: partial.decode(m))
            stopwatch.time("take partials", lambda m=message, s=said: evaluator.take(m.offset, s.envelope, s.rows))
        output = stopwatch.time("close the second", evaluator.close)
        alerts += len(output.alerts)
        stopwatch.time("encode windows", lambda o=output: [arrow.encode(WINDOW, each.rows) for each in o.windows])
        if second % 2 == 0:
            value = stopwatch.time("snapshot", lambda: snapshot.take(evaluator, {}).encode())
    figures = {f"evaluate, {name}": spent / seconds for name, spent in stopwatch.spent.items()}
    figures["evaluate, all"] = sum(stopwatch.spent.values()) / seconds
    figures["evaluate, slowest drain of 100"] = float(np.quantile(latencies, 0.99))
    figures["evaluate, snapshot bytes"] = len(value)
    figures["evaluate, transitions a second"] = alerts / seconds
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    for name, value in measure(parser.parse_args().seconds).items():
        unit = "bytes" if "bytes" in name else "1/s" if "transitions" in name else "s" if "slowest" in name else "core"
        tell(name, value, unit, most=0.1 if name == "evaluate, all" else None)


if __name__ == "__main__":
    main()
