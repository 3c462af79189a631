"""How many faults of each kind were made, how many counted, and how many are wanted; kept in the soak's folder."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

WANTED = {
    "SIGKILL": 250,
    "SIGKILL at a step": 200,
    "SIGTERM": 100,
    "SIGSTOP, a zombie that wakes": 100,
    "rebalance": 150,
    "broker kill": 20,
    "torn log entry": 40,
    "empty log entry": 40,
    "disk full": 40,
    "cut data file": 40,
    "two compactors": 20,
}
"""The least number of each kind; together 1,000."""

HELD = ("buffer", "flush", "commit")


class Tally:
    """Count faults; one counts only where its victim held a buffer, a flush or a commit. For several threads."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        kept = json.loads(path.read_text()) if path.exists() else {}
        self.counted: Counter[str] = Counter(kept.get("counted", {}))
        self.made: Counter[str] = Counter(kept.get("made", {}))
        self.held: Counter[str] = Counter(kept.get("held", {}))
        self.runs: int = kept.get("runs", 0)

    def add(self, kind: str, held: str) -> None:
        """Count one fault whose victim held that."""
        with self._lock:
            self.made[kind] += 1
            if held:
                self.counted[kind] += 1
                self.held[held] += 1

    @property
    def total(self) -> int:
        """Return how many counted."""
        return sum(self.counted.values())

    def missing(self) -> dict[str, int]:
        """Return how many of each kind are still wanted."""
        return {kind: wanted - self.counted[kind] for kind, wanted in WANTED.items() if self.counted[kind] < wanted}

    def save(self) -> None:
        """Keep the numbers for the next run."""
        kept = {"runs": self.runs, "counted": self.counted, "made": self.made, "held": self.held}
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(kept, indent=1))
        unfinished.replace(self._path)
