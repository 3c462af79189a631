"""The peer: Faust as its guide shows it, one JSON reading a message, sums of 1 s per rack in a dict.

`python -m benchmarks.peers.faust_json BOOTSTRAP TOPIC READINGS` prints the CPU seconds that all took.
"""

from __future__ import annotations

import mode.loop

mode.loop.use("uvloop")

import os  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import defaultdict  # noqa: E402

import faust  # noqa: E402

BOOTSTRAP, TOPIC, READINGS = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Reading(faust.Record, serializer="json"):
    """One reading of one GPU."""

    time: float
    rack: str
    gpu: int
    power_watts: float


app = faust.App(
    "peer-faust",
    broker=f"kafka://{BOOTSTRAP}",
    web_enabled=False,
    datadir=tempfile.mkdtemp(),
    topic_allow_declare=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
)
sums: dict[tuple[str, int], float] = defaultdict(float)


@app.agent(app.topic(TOPIC, value_type=Reading))
async def add(readings: faust.StreamT) -> None:
    """Sum by rack and second."""
    seen, began = 0, 0.0
    async for reading in readings:
        began = began or time.process_time()
        sums[reading.rack, int(reading.time)] += reading.power_watts
        seen += 1
        if seen == READINGS:
            print(f"\n{time.process_time() - began}", file=sys.__stdout__, flush=True)
            os._exit(0)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "-l", "error"]
    app.main()
