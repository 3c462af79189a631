"""The truth file: one JSON line an incident, written before its first second."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sources.simulated.incidents import Incident


def truth_of(incident: Incident) -> dict[str, Any]:
    """Return what is true about an incident, as it stands on its line; times are ISO 8601, UTC.

    `ends` is when the cause ends; the readings fall back within the seconds after it.
    """
    return {
        "id": incident.id,
        "kind": incident.kind,
        "subject_kind": incident.subject_kind.name.lower(),
        "subject": incident.subject,
        "cause": {"kind": incident.cause_kind, "what": incident.cause, "job": incident.job},
        "starts": _iso(incident.starts),
        "ends": _iso(incident.ends),
        "rule": incident.rule,
        "limit_watts": incident.limit_watts,
        "peak_watts": incident.peak_watts,
    }


def write_truth(path: Path, truths: Iterable[dict[str, Any]]) -> None:
    """Write the truths to a file, one JSON line each, replacing what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(truth, ensure_ascii=False) + "\n" for truth in truths), encoding="utf-8")


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
