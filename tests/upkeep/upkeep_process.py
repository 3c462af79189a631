"""The upkeep process with duties of a test: one that is quick, one that would never end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from sinks.upkeep.agenda import Duty
from sinks.upkeep.process import run


def quick(lake: Path, now: datetime) -> Iterable[str]:
    return ("quick was done",)


def endless(lake: Path, now: datetime) -> Iterable[str]:
    yield "endless began"
    while True:
        time.sleep(1)


if __name__ == "__main__":
    duties = (Duty("quick", 0.2, quick),) if sys.argv[3] == "quick" else (Duty("endless", 0.2, endless),)
    run(sys.argv[1], Path(sys.argv[2]), 0, duties)
