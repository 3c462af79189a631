"""The published and computed figures of the recorded runs, as ../shared/data/reference.json has them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SETS = ("mlperf-infer-h200", "mlperf-train-smc-ac")
ABOVE_WATTS = 6000


def reference(shared_data: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the inference runs and the training jobs."""
    figures = json.loads((shared_data / "reference.json").read_text())
    return figures["mlperf_infer"], figures["mlperf_train"]


def moment(text: str) -> datetime:
    """Return a time of the reference, which is UTC without saying so."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def declared_kwh(job: dict[str, Any]) -> float:
    """Return the number in "Total Power Usage: 415.22 kWh"."""
    return float(job["declared"].split()[3])
