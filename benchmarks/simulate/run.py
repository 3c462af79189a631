"""What simulating a campus costs: CPU seconds a second of the campus, without sending; one JSON line a figure.

Run with `python benchmarks/simulate/run.py` from the repository. Each figure is the least of several runs, as
the machine's other work only ever adds.
"""

from __future__ import annotations

import asyncio
import json
import time

from schemas.facility import load
from schemas.registry import assign
from sources.publish import Headers, Publisher
from sources.simulated.campus import Campus
from wattline.scales import SCALES, facility_file

START = 1_772_355_600
SECONDS, RUNS = 10, 5
BARS = {"150MW": 0.6, "35MW": 0.25}
"""Computing and encoding together; the sending that the bar leaves room for is measured with Kafka."""


class Nowhere:
    """Take messages and count their bytes."""

    def __init__(self) -> None:
        self.size = 0

    async def send(self, topic: str, value: bytes, *, key: bytes, headers: Headers) -> asyncio.Future[tuple[int, int]]:
        """Acknowledge at once."""
        self.size += len(value)
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_result((0, 0))
        return acknowledged


async def cost(scale: str) -> tuple[float, float, float]:
    """Return CPU seconds of computing and of encoding, and bytes, for one second of the campus."""
    registry = assign(load(facility_file(scale)))
    campus, nowhere = Campus(registry, seed=1, start=START), Nowhere()
    publisher = Publisher(nowhere, registry)
    computing, encoding = [], []
    for run in range(RUNS):
        for index in range(SECONDS):
            begun = time.process_time()
            second = campus.second(START + run * SECONDS + index)
            computed = time.process_time()
            await publisher.gpu(second.gpu)
            await publisher.power(second.power)
            computing.append(computed - begun)
            encoding.append(time.process_time() - computed)
        await publisher.flush()
    return min(computing), min(encoding), nowhere.size / (RUNS * SECONDS)


def main() -> None:
    """Measure and print."""
    for scale in SCALES:
        computing, encoding, size = asyncio.run(cost(scale))
        both = computing + encoding
        bar = {"bar": BARS[scale], "pass": both <= BARS[scale]} if scale in BARS else {}
        for name, value, unit, more in (
            ("compute", computing, "CPU-s/s", {}),
            ("encode", encoding, "CPU-s/s", {}),
            ("compute_and_encode", both, "CPU-s/s", bar),
            ("size", size / 1e6, "MB/s", {}),
        ):
            print(json.dumps({"name": f"simulate_{scale}_{name}", "value": round(value, 5), "unit": unit, **more}))


if __name__ == "__main__":
    main()
