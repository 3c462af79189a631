"""What decoding and admission cost: CPU time a message, a row, a line; one JSON line a figure.

`python -m benchmarks.codec.run` from the repository. The readings are those of `benchmarks/campus.py`, a second of
the whole campus a run and none twice, taken in as they come: a megabyte, which was written to memory just before.
Each figure is the least of several runs, as the machine's other work only ever adds; beside it as its peer what
polars alone takes for the same bytes.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, count, groupby, pairwise
from typing import TypeVar
from zlib import crc32

import polars as pl

from benchmarks.campus import GPU_TOPIC, RACK_ROWS, SECOND, START, Campus, Timed, campus_registry
from benchmarks.figures import tell
from schemas import arrow
from schemas.admission import admit
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.message import Message
from schemas.registry import Registry
from schemas.subject import SubjectKind
from schemas.topics import BY_NAME

RUNS = 10
APPENDED_AFTER = 20_000
"""µs from a reading to its append."""
PARTITIONS = BY_NAME[GPU_TOPIC].partitions
BARS = {RACK_ROWS: 13.0, 350: 40.0, 2_000: 150.0}
"""CPU µs a message, by rows a message."""
FETCHED_BYTES = 1_000_000
"""What one fetch brings, and one drain decodes (streams.fetch.Fetching)."""
LINES = 2_000
ADMITTED_SECONDS = 16
"""Seconds of the campus that are a million rows."""

Made = TypeVar("Made")


def seconds_of_messages(registry: Registry, rows_a_message: int) -> list[list[Message]]:
    """Return RUNS seconds of GPU readings as Kafka's consumer hands them over, by partition and offset."""
    campus = Campus(registry, rows_a_message)
    offsets = [count() for _ in range(PARTITIONS)]

    def received(made: Timed) -> Message:
        number = crc32(made.key) % PARTITIONS
        offset, appended = next(offsets[number]), made.at + APPENDED_AFTER
        return Message(GPU_TOPIC, number, offset, appended, made.key, made.value, tuple(made.headers))

    def second(number: int) -> list[Message]:
        found = [received(each) for each in campus.messages(START + number) if each.topic == GPU_TOPIC]
        return sorted(found, key=lambda each: (each.partition, each.offset))

    return [second(number) for number in range(RUNS)]


def json_lines(registry: Registry) -> list[list[Message]]:
    """Return RUNS times LINES readings of the campus as a person writes them: with paths and time zones."""
    campus, headers = Campus(registry), (("content-type", b"application/json"),)
    racks, nodes = (
        dict(registry.paths(kind).select("id", "path").iter_rows()) for kind in (SubjectKind.RACK, SubjectKind.NODE)
    )

    def second(number: int) -> list[Message]:
        rows = campus.gpu(START + number)[:LINES].select(
            pl.col("time").dt.to_string("%FT%T%.6fZ"),
            pl.col("rack").replace_strict(racks),
            pl.col("node").replace_strict(nodes),
            "gpu",
            "power_watts",
        )
        lines = rows.write_ndjson().encode().splitlines()
        appended = (START + number + 1) * SECOND
        return [Message(GPU_TOPIC, 0, offset, appended, b"k", line, headers) for offset, line in enumerate(lines)]

    return [second(number) for number in range(RUNS)]


def least_cpu_secs(work: Callable[[Made], object], inputs: Sequence[Made]) -> float:
    """Return the least CPU time that the work took with one of the inputs, all threads of the process counted."""
    found = []
    for each in inputs:
        started = time.process_time()
        work(each)
        found.append(time.process_time() - started)
    return min(found)


def least_of_drains(work: Callable[[list[Message]], object], seconds: list[list[Message]]) -> float:
    """Return the least CPU time that the work took with one of the seconds, a fetch at a time."""
    return min(sum(least_cpu_secs(work, [fetched(part)]) for part in fetches(second)) for second in seconds)


def fetches(messages: list[Message]) -> Iterator[list[Message]]:
    """Cut messages into fetches."""
    number = accumulate((len(each.value or b"") for each in messages), initial=0)
    for _, part in groupby(zip(number, messages, strict=False), lambda each: each[0] // FETCHED_BYTES):
        yield [message for _, message in part]


def fetched(messages: list[Message]) -> list[Message]:
    """Return messages whose bytes were written just now, as a consumer's are that decompressed them."""
    return [each._replace(value=bytes(bytearray(each.value or b""))) for each in messages]


def bare(messages: list[Message]) -> pl.DataFrame:
    """Read the same bytes with polars alone, a message at a time: nothing is checked, placed or isolated."""
    return pl.concat([pl.read_ipc_stream(io.BytesIO(each.value or b"")) for each in messages], rechunk=True)


def measure_messages(registry: Registry) -> None:
    """Tell what decoding and encoding a message of GPU readings cost, by rows a message."""
    for rows, bar in BARS.items():
        batches = seconds_of_messages(registry, rows)
        messages = len(batches[0])
        peer = least_of_drains(bare, batches) / messages
        cost = least_of_drains(lambda batch: _whole(decode(GPU_TOPIC, batch, registry)), batches) / messages
        tell(f"decode_message_of_{rows}_rows", cost * 1e6, "CPU µs a message", most=bar, peer=peer * 1e6)
    campus, lengths = Campus(registry), registry.slots.sort("rack").group_by("rack", maintain_order=True).len()["len"]
    frames = [campus.gpu(START + number) for number in range(RUNS)]
    parts = [[frame[low:high] for low, high in pairwise(accumulate(lengths, initial=0))] for frame in frames]
    cost = least_cpu_secs(lambda racks: [arrow.encode(GPU, rack) for rack in racks], parts) / len(lengths)
    tell(f"encode_message_of_{RACK_ROWS}_rows", cost * 1e6, "CPU µs a message", most=60.0)
    cost = least_cpu_secs(lambda frame: list(arrow.encode_slices(GPU, frame, lengths)), frames) / len(lengths)
    tell(f"encode_message_of_{RACK_ROWS}_rows_of_a_campus", cost * 1e6, "CPU µs a message", most=60.0)


def measure_lines(registry: Registry) -> None:
    """Tell what a line of JSON costs."""
    cost = least_cpu_secs(lambda lines: _whole(decode(GPU_TOPIC, lines, registry)), json_lines(registry)) / LINES
    tell("decode_json_line", cost * 1e6, "CPU µs a line", most=25.0)


def measure_admission(registry: Registry) -> None:
    """Tell what admitting and quantizing a million rows costs, all of them good and with 500 bad ones among them."""
    campus = Campus(registry, 2_000)
    seconds = [campus.gpu(START + number) for number in range(ADMITTED_SECONDS)]
    rows = (
        pl.concat(seconds)[:1_000_000]
        .with_row_index("_row")
        .with_columns(
            _row=pl.col("_row").cast(pl.Int32),
            _partition=pl.lit(0, pl.Int32),
            _offset=(pl.col("_row") // 2_000).cast(pl.Int64),
            _appended=pl.col("time") + pl.duration(microseconds=APPENDED_AFTER),
            _name=pl.lit(None, pl.String),
        )
    )
    is_bad = pl.col("_row") % 4_000
    bad = rows.with_columns(
        power_watts=pl.when(is_bad == 7).then(None).otherwise("power_watts"),
        gpu=pl.when(is_bad == 9).then(-1).otherwise("gpu").cast(pl.Int32),
    )
    for name, frame, bar in (("", rows, 0.1), ("_500_bad", bad, 0.5)):
        work = partial(admit, GPU, registry=registry, clock="wall")
        cost = least_cpu_secs(work, [frame] * RUNS)
        tell(f"admit_million_rows{name}", cost, "CPU s", most=bar)


def _whole(decoded: object) -> None:
    """Stop where anything of the campus was refused: a bench of refusals would be another one."""
    assert not len(decoded.refused), decoded.refused["message"][0]  # type: ignore[attr-defined]


def main() -> None:
    registry = campus_registry()
    measure_messages(registry)
    measure_lines(registry)
    measure_admission(registry)


if __name__ == "__main__":
    main()
