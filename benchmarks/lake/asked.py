"""What questions to a campus day cost: `python -m benchmarks.lake.asked --folder LAKE`, made by benchmarks.lake.day.

Each is asked several times through one open lake, aimed at its files as `wattline sql` and `/api/sql` do; wall time,
the least and the median, and the CPU of the least. Opening the lake is told by itself.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import tell
from benchmarks.lake.day import ASKED_RANGE, DAY, RANGES
from benchmarks.lake.run import cpu_seconds
from sinks.sql.question import Lake

REPEATS = 15
CAMPUS_RACKS = 1_337
LAST_HOUR = f"TIMESTAMP '{DAY:%Y-%m-%d} 23:00:00'"
MINUTES = "FROM windows WHERE every_seconds = 60 AND subject_kind"


def questions(rack: str, node: str, site: str) -> dict[str, tuple[str, float]]:
    """Return each question and the milliseconds that it may take."""
    return {
        "one GPU's day": (
            f"SELECT time, power_watts FROM gpu WHERE rack = '{rack}' AND node = '{node}' AND gpu = 3 ORDER BY time",
            50,
        ),
        "site power of the last hour by minute": (
            f"SELECT window_start, power_watts {MINUTES} = 'site' AND subject = '{site}' "
            f"AND window_start >= {LAST_HOUR} ORDER BY window_start",
            20,
        ),
        "top 20 racks of a day": (
            f"SELECT subject, max(power_watts) AS peak {MINUTES} = 'rack' GROUP BY subject ORDER BY peak DESC LIMIT 20",
            100,
        ),
        "energy per job of a day": (f"SELECT subject, sum(energy_joules) {MINUTES} = 'job' GROUP BY subject", 500),
    }


def measure(lake: Lake, text: str) -> tuple[list[float], float, int, int]:
    """Return the wall ms of each time, the CPU ms of the least, how many files are read and rows come back."""
    took: list[tuple[float, float]] = []
    for _ in range(REPEATS):
        began, before = time.perf_counter(), cpu_seconds()
        asked = lake.ask(text)
        rows = lake.answer(asked).to_arrow_table()
        took.append(((time.perf_counter() - began) * 1e3, (cpu_seconds() - before) * 1e3))
    return [wall for wall, _ in took], min(took)[1], len(asked.read), rows.num_rows


def _timed(work: Callable[[], Lake]) -> tuple[Lake, float]:
    began = time.perf_counter()
    return work(), (time.perf_counter() - began) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    opened = min((_timed(lambda: Lake(folder)) for _ in range(3)), key=lambda each: each[1])
    lake, took = opened
    tell("lake: open a day", took, "ms")
    racks = [row[0] for row in lake.connection.execute("SELECT rack FROM racks ORDER BY subject_id").fetchall()]
    rack = racks[int(CAMPUS_RACKS * (ASKED_RANGE + 0.5) / RANGES)]
    node = f"{rack}/n01"
    for name, (text, most) in questions(rack, node, rack.split("/", maxsplit=1)[0]).items():
        walls, cpu, files, rows = measure(lake, text)
        tell(
            f"lake: {name}",
            min(walls),
            "ms",
            most=most,
            median=statistics.median(walls),
            cpu=cpu,
            files=files,
            rows=rows,
        )


if __name__ == "__main__":
    main()
