"""The rows that all systems of the comparison take: some 20 million GPU readings of a 35 MW campus at 1 Hz.

Each batch, of as many rows as the lake writer flushes at once, lies there twice: as the messages that Kafka holds, for
the lake, and as admitted columns in Arrow, for the others, who are spared decoding and admission. Both are in the order
of arrival. The seed is that of benchmarks/campus.py, and the checksum of all messages is asserted.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import feather

from benchmarks.campus import GPU_TOPIC, START, Campus, campus_registry
from benchmarks.lake.run import message_at
from schemas.message import Message
from schemas.registry import Registry
from schemas.subject import SubjectKind
from sinks.lake.rows import read_rows

SCALE = "35MW"
ROWS_A_MESSAGE = 2_000
BATCH_SECONDS = 43
BATCHES = 32
CHECKSUM = "3c29439397879d9e212de02fa860196adebbc6416b2000400ff9731a27259a3d"
"""SHA-256 of the values of all messages of BATCHES batches."""
MEASURED = (
    "power_deciwatts",
    "power_limit_deciwatts",
    "utilization_e4",
    "encoder_e4",
    "decoder_e4",
    "memory_used_bytes",
    "temperature_celsius",
    "memory_temperature_celsius",
    "sm_clock_mhz",
    "throttle_reasons",
    "energy_whole_joules",
)
"""What a GPU's sensors say; a time series database keeps a series of each."""


def registry() -> Registry:
    """Return the facility that the rows are of."""
    return campus_registry(scale=SCALE)


def rack_paths(facility: Registry) -> dict[int, str]:
    """Return the path of each rack."""
    return dict(facility.paths(SubjectKind.RACK).select("id", "path").iter_rows())


def write(folder: Path, batches: int) -> str:
    """Write so many batches and return the checksum of their messages."""
    campus, digest, second = Campus(registry(), ROWS_A_MESSAGE), hashlib.sha256(), START
    offsets: dict[int, int] = {}
    for number in range(batches):
        messages = []
        for _ in range(BATCH_SECONDS):
            made = (each for each in campus.messages(second) if each.topic == GPU_TOPIC)
            messages.extend(message_at(each, offsets) for each in made)
            second += 1
        for message in messages:
            digest.update(message.value or b"")
        (folder / f"{number:03d}.messages").write_bytes(pickle.dumps([tuple(each) for each in messages]))
        rows = read_rows(GPU_TOPIC, messages, None, "event")["gpu"]
        feather.write_feather(rows, folder / f"{number:03d}.arrow", compression="uncompressed")
    if batches == BATCHES and digest.hexdigest() != CHECKSUM:
        raise AssertionError(f"the campus is another one: SHA-256 of its messages is {digest.hexdigest()}")
    return digest.hexdigest()


def message_batches(folder: Path) -> Iterator[list[Message]]:
    """Yield the messages of each batch."""
    for path in sorted(folder.glob("*.messages")):
        yield [Message(*each) for each in pickle.loads(path.read_bytes())]


def arrow_batches(folder: Path) -> Iterator[pa.Table]:
    """Yield the rows of each batch, without the columns that nobody filled."""
    for path in sorted(folder.glob("*.arrow")):
        rows = feather.read_table(path, memory_map=False)
        yield rows.drop_columns([name for name in rows.column_names if rows.column(name).null_count == rows.num_rows])
