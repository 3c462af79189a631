"""Where our microseconds go: CPU a GPU row by part of roll up, in process, as a table.

`python -m benchmarks.streams.profile [--rows 2000] [--drain 3]`: each part's own CPU time, without that of the parts
that it calls; all threads count. Kafka and Faust are not in it.
"""

from __future__ import annotations

import argparse
import sys
from zlib import crc32

from benchmarks.campus import START, Campus, campus_registry
from benchmarks.stopwatch import Stopwatch
from schemas import blocks
from schemas.blocks import BYTES_IN_CACHE, in_blocks
from schemas.message import Message
from schemas.partial import encode
from schemas.timeline import Timeline
from schemas.topics import BY_NAME
from streams import gpu_intake, gpu_pieces, gpu_rows, gpu_slots, gpu_stream, ring, roll_up, stream
from streams.gpu_intake import take_in
from streams.in_force import InForce
from streams.roll_up import GPU_TOPIC

SECONDS = 48


def watched() -> Stopwatch:
    """Return a stopwatch on every part of the hot path."""
    watch, here = Stopwatch(), sys.modules[__name__]
    for owner, name, part in (
        (here, "take_in", "intake: rest"),
        (gpu_intake, "blocks_of", "intake: look at each message"),
        (blocks.Block, "__init__", "intake: join small messages"),
        (blocks.Block, "column", "intake: columns of a block"),
        (gpu_intake, "admits_all", "intake: admission"),
        (gpu_rows.GpuRows, "of_block", "intake: rows as arrays"),
        (gpu_rows, "quantized", "intake: integers"),
        (gpu_slots.GpuSlots, "find", "intake: find slots"),
        (gpu_intake, "_of_blocks", "intake: one log"),
        (gpu_intake, "_in_log_order", "intake: order of the log"),
        (roll_up.RollUp, "feed_gpu", "roll up"),
        (ring.Ring, "write", "ring: write"),
        (ring.Ring, "close", "ring: close"),
        (gpu_stream.GpuStream, "_take", "stream: take"),
        (stream.Stream, "feed", "stream: feed"),
        (gpu_pieces, "_digests", "pieces: digests"),
        (gpu_pieces, "_histogram", "pieces: histograms"),
        (gpu_pieces, "_frame", "pieces: frames"),
        (gpu_pieces, "piece", "pieces: sums"),
        (gpu_stream, "rack_rows", "partial: frame"),
        (stream.Stream, "_split", "partial: split"),
        (here, "encode", "partial: encode"),
    ):
        watch.watch(owner, name, part)
    return watch


def drains_of(campus: Campus, seconds: int, drain_secs: int) -> list[list[Message]]:
    """Return GPU messages of the campus as drains of so many seconds; a worker that has to catch up drains many."""
    partitions = BY_NAME[GPU_TOPIC].partitions
    next_offsets, drains = [0] * partitions, []
    for second in range(seconds):
        if second % drain_secs == 0:
            drains.append([])
        for sent in campus.messages(START + second):
            if sent.topic == GPU_TOPIC:
                number = crc32(sent.key) % partitions
                place = (GPU_TOPIC, number, next_offsets[number])
                drains[-1].append(Message(*place, sent.at, sent.key, sent.value, tuple(sent.headers)))
                next_offsets[number] += 1
    return [sorted(drain, key=lambda each: (each.partition, each.offset)) for drain in drains]


def profile(rows_a_message: int, drain_secs: int, repeats: int) -> None:
    """Print the table."""
    registry = campus_registry()
    timeline = Timeline.always(registry)
    drains = drains_of(Campus(registry, rows_a_message), SECONDS, drain_secs)
    watch = watched()
    rows = 0
    for _ in range(repeats):
        rolling = roll_up.RollUp(InForce.always(registry))
        for partition in range(BY_NAME[GPU_TOPIC].partitions):
            rolling.assign((GPU_TOPIC, partition), "", 0)
        for number, drain in enumerate(drains):
            kept = (dict(watch.spent), dict(watch.calls))
            came = take(rolling, timeline, drain)
            if number <= len(drains) // 4:  # the first drains make room and warm up
                watch.spent, watch.calls = kept
            else:
                rows += came
    total = sum(watch.spent.values())
    print(f"{rows_a_message} rows a message, drains of {drain_secs} s of the campus")
    for part, spent in sorted(watch.spent.items(), key=lambda each: -each[1]):
        print(f"{spent / rows * 1e9:8.1f} ns a row  {watch.calls[part]:6d} calls  {part}")
    print(f"{total / rows * 1e9:8.1f} ns a row, {rows / total / 1e6:.2f} M rows per CPU-second")


def take(rolling: roll_up.RollUp, timeline: Timeline, drain: list[Message]) -> int:
    """Do with a drain what the worker does, but for Kafka; return the number of rows."""
    rows = 0
    for block in in_blocks(drain, BYTES_IN_CACHE):
        intake, _ = take_in(block, timeline, rolling.in_force, "wall")
        ends = {message.partition: message.offset + 1 for message in block}
        for partial in rolling.feed_gpu(intake, ends, 0):
            encode(partial)
        rows += len(intake.rows.second)
    rolling.places()
    return rows


def main() -> None:
    """Print where the CPU time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--drain", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    profile(arguments.rows, arguments.drain, arguments.repeats)


if __name__ == "__main__":
    main()
