"""The load generator of the benchmarks: sends the campus to a Kafka, as fast as it goes or each reading at its moment.

`python -m benchmarks.load BOOTSTRAP --rows 46 --seconds 100 --start 1772366400` fills the topics;
with `--live` it begins with the next second and sends until it is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time

from benchmarks.campus import GPU_TOPIC, RACK_ROWS, SCALE, SECOND, Campus, Timed, campus_registry
from broker.producer import Producer
from schemas.registry import Registry
from schemas.topics import BY_NAME
from sinks.lake.log_reader import read_ends
from sinks.lake.positions import Source
from wattline.scales import SCALES

AHEAD_SECS = 0.3
"""How long before it begins a live second is made."""


async def fill(bootstrap: str, campus: Campus, start: int, seconds: int) -> None:
    """Send `[start, start + seconds)` as fast as Kafka takes it."""
    async with Producer(bootstrap) as producer:
        for second in range(start, start + seconds):
            for message in campus.messages(second):
                await _send(producer, message)
        await producer.flush()


async def live(bootstrap: str, campus: Campus, breaching: int) -> None:
    """Send every reading at the moment that it is stamped with, until cancelled."""
    async with Producer(bootstrap) as producer:
        first = int(time.time()) + 2
        for second in itertools.count(first):
            await _until(second - AHEAD_SECS)
            for message in campus.messages(second, breaching=breaching):
                await _until(message.at / SECOND)
                await _send(producer, message)


def gpu_rows(bootstrap: str, registry: Registry) -> float:
    """Return how many GPU rows are in Kafka, by its messages: each has the GPUs of one rack."""
    sources = [Source(GPU_TOPIC, number) for number in range(BY_NAME[GPU_TOPIC].partitions)]
    messages = sum(asyncio.run(read_ends(bootstrap, sources)).values())
    return messages * len(registry.slots) / registry.slots["rack"].n_unique()


async def _send(producer: Producer, message: Timed) -> None:
    await producer.send(message.topic, message.value, message.key, message.headers)


async def _until(moment: float) -> None:
    wait = moment - time.time()
    if wait > 0.002:
        await asyncio.sleep(wait)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("--rows", type=int, default=RACK_ROWS)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--scale", choices=list(SCALES), default=SCALE)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=100)
    parser.add_argument("--breaching", type=int, default=0)
    parser.add_argument("--live", action="store_true")
    given = parser.parse_args()
    campus = Campus(campus_registry(given.times, given.scale), given.rows)
    if given.live:
        asyncio.run(live(given.bootstrap, campus, given.breaching))
    else:
        asyncio.run(fill(given.bootstrap, campus, given.start, given.seconds))


if __name__ == "__main__":
    main()
