"""The evaluator's benchmark drives the real stage: it must go on to fit it."""

from __future__ import annotations

from benchmarks.stopwatch import Stopwatch
from benchmarks.streams.evaluate import measure, recorded
from schemas.facility import load
from schemas.registry import assign
from tests.streams.logs import EXAMPLE


def test_the_benchmark_tells_alerts_and_snapshots() -> None:
    registry = assign(load(EXAMPLE))
    figures = measure(recorded(registry, seconds=4), registry, Stopwatch())
    told = ("alerts.v1", "alerts.state.v1")
    assert all(figures[f"evaluate: bytes a second to {topic}"] > 0 for topic in told)
