"""A writer in a process of its own, which may kill itself at a named step: what the fault tests start."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sinks.lake.process import run
from sinks.lake.writer import WriterSettings


def kill_at(step: str, occurrence: int) -> Callable[[str], None]:
    """Return a function that kills this process the `occurrence`-th time it is called with `step`."""
    seen = 0

    def called(name: str) -> None:
        nonlocal seen
        seen += name == step
        if name == step and seen == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    return called


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    run(
        options["bootstrap"],
        Path(options["lake"]),
        WriterSettings(**options["settings"]),
        kill_at(options.get("step", ""), options.get("occurrence", 1)),
    )
