"""Run the comparison: every system takes the same rows, one after the other, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.figures import tell
from benchmarks.lake.peers import rows
from benchmarks.lake.peers.figures import Told
from benchmarks.lake.peers.victoria import PROGRAM

LAKE = "lake"
NAMES = {
    LAKE: "Wattline's lake",
    "plain": "plain Parquet",
    "clickhouse": "ClickHouse",
    "victoria": "VictoriaMetrics",
    "prometheus": "Prometheus",
}


def missing() -> dict[str, str]:
    """Return what to do to have each system that is not here."""
    found = {
        "clickhouse": find_spec("chdb"),
        "victoria": PROGRAM.exists() or shutil.which("victoria-metrics"),
        "prometheus": shutil.which("promtool"),
    }
    bring = {
        "clickhouse": '.venv/bin/pip install "chdb-core>=26.9,<27" (180 MB; the extra `bench`)',
        "victoria": "scripts/bench-parts.sh (needs Go; builds for two minutes)",
        "prometheus": "apt-get install --no-install-recommends prometheus",
    }
    return {name: bring[name] for name, here in found.items() if not here}


def measure(batches: int, systems: list[str], scratch: Path) -> dict[str, Told]:
    """Make the rows and let each system take them."""
    given = scratch / "rows"
    given.mkdir()
    checksum = rows.write(given, batches)
    print(json.dumps({"name": "lake: SHA-256 of the messages that all take", "value": checksum}), flush=True)
    told = {}
    for name in systems:
        folder = scratch / name
        folder.mkdir()
        command = [sys.executable, "-m", f"benchmarks.lake.peers.{name}", str(given), str(folder)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        told[name] = Told(**json.loads(said))
        _tell(NAMES[name], told[name])
        shutil.rmtree(folder)
    return told


def _tell(name: str, told: Told) -> None:
    values = told.rows * len(rows.MEASURED)
    tell(f"{name}: ingest", told.rows / told.ingest_cpu_secs, "GPU rows/CPU-second", note=told.note)
    whole = told.ingest_cpu_secs + told.settle_cpu_secs
    tell(f"{name}: ingest and merge", told.rows / whole, "GPU rows/CPU-second")
    tell(f"{name}: merged", told.bytes_settled / values, "bytes/measured value", first=told.bytes_at_first / values)
    for question, took in told.query_milliseconds.items():
        tell(f"{name}: {question}", told.query_cpu_milliseconds[question], "CPU ms", wall=round(took, 1))


def require_same_answers(told: Mapping[str, Told]) -> None:
    """Raise where two systems do not say the same."""
    ours = told[LAKE].answers
    for name, other in told.items():
        for question, answer in other.answers.items():
            if len(answer) != len(ours[question]) or not np.allclose(answer, ours[question], rtol=1e-6):
                raise AssertionError(
                    f"{NAMES[name]} answers {question!r} otherwise: {answer[:3]}… against {ours[question][:3]}…"
                )


def table(told: Mapping[str, Told]) -> str:
    """Return the ratios as a table in Markdown; × is how many times as much as the lake."""
    ours, others = told[LAKE], {name: each for name, each in told.items() if name != LAKE}
    lines = [
        "| | lake | " + " | ".join(NAMES[name] for name in others) + " |",
        "|---|---:|" + "---:|" * len(others),
        _row("ingest, CPU ns a row", ours, others, lambda each: each.ingest_cpu_secs / each.rows * 1e9),
        _row(
            "… merging, compaction included",
            ours,
            others,
            lambda each: (each.ingest_cpu_secs + each.settle_cpu_secs) / each.rows * 1e9,
        ),
        _row("bytes a row, as taken", ours, others, lambda each: each.bytes_at_first / each.rows),
        _row("bytes a row, merged", ours, others, lambda each: each.bytes_settled / each.rows),
    ]
    for question in ours.query_cpu_milliseconds:
        of = partial(_query_cpu, question)
        lines.append(_row(f"{question}, CPU ms", ours, others, of))
    return "\n".join(lines)


def _query_cpu(question: str, told: Told) -> float | None:
    return told.query_cpu_milliseconds.get(question)


def _row(name: str, ours: Told, others: Mapping[str, Told], of: Callable[[Told], float | None]) -> str:
    value = of(ours)
    cells = []
    for each in others.values():
        theirs = of(each)
        cells.append("–" if theirs is None else f"{theirs:,.3g} ({theirs / value:.2g} ×)")
    return f"| {name} | {value:,.3g} | " + " | ".join(cells) + " |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=rows.BATCHES, help="of 621,952 rows each")
    parser.add_argument("--systems", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--scratch", type=Path, help="a folder with room for 8 GB")
    asked = parser.parse_args(arguments)
    absent = missing()
    for name in asked.systems:
        if name in absent:
            print(f"bench-lake: {NAMES[name]} is missing and left out: {absent[name]}", file=sys.stderr)
    systems = [name for name in asked.systems if name not in absent]
    with tempfile.TemporaryDirectory(dir=asked.scratch) as scratch:
        told = measure(asked.batches, systems, Path(scratch))
    require_same_answers(told)
    print(table(told), f"\nload average {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
