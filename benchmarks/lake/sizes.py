"""Bytes a measured value in an hour of the campus, by how its collectors stamp: `python -m benchmarks.lake.sizes`.

The file is one of the eight of an hour, with the settings of compaction; its rows are those of benchmarks.lake.hours.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.campus import campus_registry
from benchmarks.figures import tell
from benchmarks.lake.day import FIRST_HOUR, RANGES, write_hours
from benchmarks.lake.hours import CampusHours
from sinks.lake.process import keep_memory
from sinks.lake.tables import BY_NAME

MEASURED = 11
"""Sensors of a GPU that say something every second: power, its limit, three shares of use, memory, two temperatures,
clock, throttling, energy. Nothing else of a row is counted, all of it is stored."""


class Stamps(NamedTuple):
    """Say how collectors stamp, by how many ms their stamps stray, and the bytes that a value may take."""

    name: str
    jitter: int
    is_whole_seconds: bool
    bar: float | None


KINDS = (
    Stamps("milliseconds", 0, False, 0.58),
    Stamps("milliseconds that stray by 10", 10, False, None),
    Stamps("whole seconds", 0, True, 0.5),
)


def bytes_a_value(folder: Path, stamps: Stamps) -> float:
    """Return bytes a measured value of one range of racks, an hour at 1 Hz."""
    campus = CampusHours(campus_registry(), jitter=stamps.jitter, is_whole_seconds=stamps.is_whole_seconds)
    rows = campus.rows([FIRST_HOUR], campus.racks[: len(campus.racks) // RANGES])
    (file,) = write_hours(rows, BY_NAME["gpu"], folder).values()
    return file.size / (file.rows * MEASURED)


def main() -> None:
    keep_memory()
    for stamps in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            value = bytes_a_value(Path(folder), stamps)
        tell(f"lake: an hour's file, stamps of {stamps.name}", value, "bytes/measured value", most=stamps.bar)


if __name__ == "__main__":
    main()
