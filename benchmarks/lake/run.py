"""What the lake writer costs: GPU rows from the bytes of Kafka's messages to durable, committed Parquet.

Prints one JSON line a figure. No Kafka runs here: the messages are the bytes that its consumer hands over.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from zlib import crc32

from benchmarks.campus import GPU_TOPIC, START, Campus, Timed, campus_registry
from benchmarks.figures import tell
from schemas.gpu import GPU
from schemas.message import Message
from schemas.topics import BY_NAME
from sinks.lake.flush import Flushed, Tables
from sinks.lake.positions import Source
from sinks.lake.process import keep_memory

SECONDS = 10
FLUSHES = 5
APPENDED_AFTER = 20_000
"""µs from a reading to its append."""
PARTITIONS = BY_NAME[GPU_TOPIC].partitions
VALUES = len(GPU.columns) - 1
"""Columns of a reading that carry values: all but `instance`; place in the log is not counted."""

BARS = {2_000: 3_000_000}
"""Rows a CPU-second that must hold, by rows a message."""

Pending = dict[Source, list[Message]]


class Load:
    """Make ten seconds of the campus at a time, as messages."""

    def __init__(self, rows_per_message: int) -> None:
        self._campus = Campus(campus_registry(), rows_per_message)
        self._second = START
        self._offsets: dict[int, int] = {}

    def flush_worth(self) -> Pending:
        """Return the messages of the next ten seconds by partition."""
        messages = []
        for second in range(self._second, self._second + SECONDS):
            made = (each for each in self._campus.messages(second) if each.topic == GPU_TOPIC)
            messages.extend(message_at(each, self._offsets) for each in made)
        self._second += SECONDS
        return pending_of(messages)


def message_at(made: Timed, offsets: dict[int, int]) -> Message:
    """Return a message as Kafka holds it at the next offset of its partition; `offsets` moves on."""
    partition = crc32(made.key) % PARTITIONS
    offset = offsets[partition] = offsets.get(partition, -1) + 1
    return Message(GPU_TOPIC, partition, offset, made.at + APPENDED_AFTER, made.key, made.value, tuple(made.headers))


def pending_of(messages: list[Message]) -> Pending:
    """Return messages by partition."""
    pending: Pending = {Source(GPU_TOPIC, number): [] for number in range(PARTITIONS)}
    for message in messages:
        pending[Source(GPU_TOPIC, message.partition)].append(message)
    return pending


def measure(rows_per_message: int) -> tuple[Flushed, float]:
    """Return what all flushes but the first wrote, and the CPU seconds of all threads that they took."""
    load = Load(rows_per_message)
    total, spent = Flushed(0, 0, 0), 0.0
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(Path(folder), "event")
        for number in range(FLUSHES + 1):
            pending = load.flush_worth()
            before = cpu_seconds()
            flushed = tables.flush(pending, None)
            if number:  # the first one warms up
                spent += cpu_seconds() - before
                total = Flushed(*(a + b for a, b in zip(total, flushed, strict=True)))
    return total, spent


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, in user and kernel."""
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def writer() -> None:
    """Tell what the writer costs, by rows a message."""
    keep_memory()  # as its process does
    for rows_per_message in (2_000, 350, 46):
        total, spent = measure(rows_per_message)
        name, size = f"lake: {rows_per_message} rows a message, ", total.size / total.rows
        tell(
            name + "bytes to committed Parquet",
            total.rows / spent,
            "GPU rows/CPU-second",
            least=BARS.get(rows_per_message),
        )
        tell(name + "flush file", size, "bytes/row")
        tell(name + "flush file", size / VALUES, "bytes/value")


def main() -> None:
    from benchmarks.lake import sizes
    from benchmarks.lake.peers.run import main as beside

    parser = argparse.ArgumentParser(description="What the lake costs, by itself and beside others.")
    parser.add_argument("--only", choices=("writer", "sizes", "peers"))
    asked, others = parser.parse_known_args()
    if asked.only in (None, "writer"):
        writer()
    if asked.only in (None, "sizes"):
        sizes.main()
    if asked.only in (None, "peers"):
        beside(others)


if __name__ == "__main__":
    main()
