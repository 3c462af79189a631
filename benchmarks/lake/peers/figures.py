"""What a system of the comparison tells: CPU seconds, bytes, the time of each question, and its answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

REPEATS = 7


@dataclass
class Told:
    """Hold one system's figures; `settle` is what it does later to what it has taken: merging, compaction."""

    rows: int
    ingest_cpu_secs: float
    settle_cpu_secs: float = 0.0
    bytes_at_first: int = 0
    bytes_settled: int = 0
    query_cpu_milliseconds: dict[str, float] = field(default_factory=dict)
    query_milliseconds: dict[str, float] = field(default_factory=dict)
    answers: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def ask(told: Told, questions: Mapping[str, Callable[[], list[float]]], cpu: Callable[[], float]) -> None:
    """Ask each question several times: the mean CPU after the first time, and the shortest wall time.

    `cpu` says how many seconds of it the process that answers has used.
    """
    for name, question in questions.items():
        told.answers[name] = question()
        took, before = [], cpu()
        for _ in range(REPEATS):
            began = time.perf_counter()
            question()
            took.append(time.perf_counter() - began)
        told.query_cpu_milliseconds[name] = (cpu() - before) / REPEATS * 1e3
        told.query_milliseconds[name] = min(took) * 1e3


def bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
