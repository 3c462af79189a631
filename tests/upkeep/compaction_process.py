"""The duty of compaction in a process of its own, which kills itself at a named step."""

from __future__ import annotations

import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from sinks.upkeep import compaction, merge
from sinks.upkeep.small import Compaction
from tests.lake.writer_process import signal_at

if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    merge.MEMORY_BYTES = 3_000  # so that a lake of a few rows is merged in several steps, into several files
    merge._LEAST_GROUP_ROWS = 4
    compaction.FILE_ROWS = 100
    step = signal_at(signal.SIGKILL, options["step"], options["occurrence"])
    for sentence in Compaction(step=step)(Path(options["lake"]), datetime.now(UTC)):
        print(sentence)
