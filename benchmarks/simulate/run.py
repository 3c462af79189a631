"""What simulating a campus costs: CPU seconds a second of the campus, without sending; one JSON line a figure.

`python -m benchmarks.simulate.run` from the repository. The facility is that of `benchmarks/campus.py`, and two
smaller ones; what is sent must have the readings and the messages of that campus, whose bytes are the peer (which has
no phases: the simulation tells feeds by phase beside their total). Each figure is the least of several runs, as the
machine's other work only ever adds; no second is made twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator

import polars as pl
from aiokafka.codec import zstd_encode

from benchmarks.campus import SCALE, START, Campus, campus_registry
from benchmarks.figures import tell
from broker.producer import BATCH_BYTES
from schemas.registry import Registry
from sources.publish import Headers, Publisher
from sources.simulated.campus import Campus as Simulated
from sources.simulated.campus import Second
from wattline.scales import SCALES

SECONDS, RUNS = 10, 5
BARS = {SCALE: 0.6, "35MW": 0.25}
"""Computing and encoding together; the sending that the bar leaves room for is measured with Kafka."""


class Nowhere:
    """Take messages in place of Kafka."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []

    async def send(self, topic: str, value: bytes, *, key: bytes, headers: Headers) -> asyncio.Future[tuple[int, int]]:
        """Acknowledge at once."""
        self.taken.append((topic, value))
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_result((0, 0))
        return acknowledged

    def empty(self) -> list[tuple[str, bytes]]:
        """Return what was taken and forget it."""
        taken, self.taken = self.taken, []
        return taken


def sizes(values: Iterable[bytes]) -> tuple[float, float]:
    """Return the MB of messages, bare and as zstd in batches as the producer makes them."""
    batches = list(_batches(values))
    return sum(map(len, batches)) / 1e6, sum(len(zstd_encode(batch)) for batch in batches) / 1e6


def _batches(values: Iterable[bytes]) -> Iterator[bytes]:
    batch = bytearray()
    for value in values:
        batch += value
        if len(batch) >= BATCH_BYTES:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch)


class Simulation:
    """Make and encode one second after the other, and know what each took."""

    def __init__(self, registry: Registry) -> None:
        self.nowhere = Nowhere()
        self._campus = Simulated(registry, seed=1, start=START)
        self._publisher = Publisher(self.nowhere, registry)
        self._next = START

    def compute(self) -> tuple[Second, float]:
        """Return the next second and the CPU seconds that it took."""
        begun = time.process_time()
        second = self._campus.second(self._next)
        self._next += 1
        return second, time.process_time() - begun

    async def encode(self, second: Second) -> float:
        """Encode it; return the CPU seconds that this took."""
        begun = time.process_time()
        await self._publisher.gpu(second.gpu)
        await self._publisher.power(second.power)
        await self._publisher.flush()
        return time.process_time() - begun


async def measure(scale: str) -> None:
    """Print the figures of one scale."""
    registry = campus_registry(scale=scale)
    simulation, computing, encoding = Simulation(registry), [], []
    for _ in range(RUNS * SECONDS):
        simulation.nowhere.empty()
        second, took = simulation.compute()
        computing.append(took)
        encoding.append(await simulation.encode(second))
    sent, campus = simulation.nowhere.empty(), Campus(registry).messages(START)
    assert Counter(topic for topic, _ in sent) == Counter(each.topic for each in campus), "another shape of messages"
    totals = second.power.filter(pl.col("phase") == 0)
    assert len(second.gpu) + len(totals) == sum(each.rows for each in campus), "another number of readings"
    tell(f"simulate_{scale}_compute", min(computing), "CPU-s/s")
    tell(f"simulate_{scale}_encode", min(encoding), "CPU-s/s")
    tell(f"simulate_{scale}_compute_and_encode", min(computing) + min(encoding), "CPU-s/s", most=BARS.get(scale))
    ours, theirs = sizes(value for _, value in sent), sizes(each.value for each in campus)
    for name, size, peer in zip(("size", "size_as_zstd"), ours, theirs, strict=True):
        tell(f"simulate_{scale}_{name}", size, "MB/s", peer=peer)


def main() -> None:
    for scale in SCALES:
        asyncio.run(measure(scale))


if __name__ == "__main__":
    main()
