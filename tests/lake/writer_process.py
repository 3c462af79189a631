"""A writer in a process of its own, which may send itself a signal at a named step: what the fault tests start."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sinks.lake.process import run
from sinks.lake.writer import WriterSettings


def signal_at(number: int, step: str, occurrence: int) -> Callable[[str], None]:
    """Return a function that prints each step and signals this process the `occurrence`-th time it is `step`."""
    seen = 0

    def called(name: str) -> None:
        nonlocal seen
        print(name, flush=True)
        seen += name == step
        if name == step and seen == occurrence:
            os.kill(os.getpid(), number)

    return called


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    run(
        options["bootstrap"],
        Path(options["lake"]),
        WriterSettings(**options["settings"]),
        signal_at(getattr(signal, options["signal"]), options["step"], options["occurrence"]),
    )
