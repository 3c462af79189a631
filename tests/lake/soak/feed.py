"""What is sent in a soak, and the note of what Kafka has acknowledged: place, rows and fingerprint of each message."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import polars as pl

from broker.producer import Producer
from schemas.arrow import encode, headers
from schemas.gpu import GPU
from schemas.meter import METER
from tests.lake.readings import GPU_TOPIC, POWER_TOPIC, frame
from tests.lake.soak.fingerprint import bytes_words, floats, integers, of_message

PROGRESS_TOPIC, WINDOWS_TOPIC, ALERTS_TOPIC = "telemetry.progress.v1", "windows.site.v1", "alerts.v1"
NOTED = {"topic": pl.String, "partition": pl.Int32, "offset": pl.Int64, "rows": pl.Int64, "fingerprint": pl.UInt64}
"""The columns of the note."""
RACKS, METERS = 61, 23

Made = tuple[str, bytes, bytes, list[tuple[str, bytes]], int, int]
"""Topic, value, key, headers, rows, fingerprint."""


def gpu(chance: Random) -> Made:
    """Make the readings of a rack, now."""
    rack, rows, time_us = chance.randrange(RACKS), chance.randint(1, 12), time.time_ns() // 1000
    slots = np.arange(rows)
    watts = [chance.randint(0, 12_000) / 10 for _ in slots]
    readings = frame(
        GPU, time=[time_us] * rows, rack=[rack] * rows, node=rack * 18 + slots // 4, gpu=slots % 4, power_watts=watts
    )
    columns = [integers([time_us] * rows), integers([rack] * rows), integers(rack * 18 + slots // 4)]
    columns += [integers(slots % 4), integers(round(10 * each) for each in watts), integers(slots)]
    return GPU_TOPIC, encode(GPU, readings), b"%d" % rack, list(headers(GPU)), rows, of_message(columns)


def power(chance: Random) -> Made:
    """Make readings of meters, now."""
    first, rows, time_us = chance.randrange(METERS), chance.randint(1, 5), time.time_ns() // 1000
    watts = [chance.uniform(0, 1e6) for _ in range(rows)]
    meters = [first * 10 + number for number in range(rows)]
    readings = frame(METER, time=[time_us] * rows, meter=meters, phase=[0] * rows, power_watts=watts)
    columns = [integers([time_us] * rows), integers(meters), floats(watts), integers(range(rows))]
    return POWER_TOPIC, encode(METER, readings), b"%d" % first, list(headers(METER)), rows, of_message(columns)


def progress(chance: Random) -> Made:
    """Make the progress of a job."""
    job, steps = f"job-{chance.randrange(100)}", chance.randrange(10**9)
    value = json.dumps({"time": "2026-03-01T12:00:00Z", "job": job, "steps": steps}).encode()
    columns = [bytes_words([job.encode()]), integers([steps]), integers([0])]
    return PROGRESS_TOPIC, value, b"job", [], 1, of_message(columns)


def garbage(chance: Random) -> Made:
    """Make what is none of our own records: the writer itself refuses it."""
    value = b"garbage %d" % chance.randrange(10**12)
    topic = chance.choice((WINDOWS_TOPIC, ALERTS_TOPIC))
    return topic, value, b"key", [], 1, of_message([bytes_words([value])])


MAKERS: tuple[tuple[Callable[[Random], Made], int], ...] = ((gpu, 12), (power, 4), (progress, 1), (garbage, 1))


class NotingFeeder:
    """Send messages of every kind until told to stop, and note what was acknowledged as a Parquet file."""

    def __init__(self, bootstrap: str, note: Path, seed: str, messages_a_second: int = 60) -> None:
        self._bootstrap, self._note, self._chance = bootstrap, note, Random(seed)
        self._rate = messages_a_second
        self._noted: list[tuple[str, int, int, int, int]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._feed()))

    def __enter__(self) -> NotingFeeder:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._write()

    @property
    def messages(self) -> int:
        """Return how many were acknowledged."""
        return len(self._noted)

    async def _feed(self) -> None:
        makers = [maker for maker, share in MAKERS for _ in range(share)]
        async with Producer(self._bootstrap, alarm=lambda _: None) as producer:
            while not self._stopping.is_set():
                for _ in range(self._rate // 10):
                    topic, value, key, more, rows, fingerprint = self._chance.choice(makers)(self._chance)
                    place = await producer.send(topic, value, key=key, headers=more)
                    place.add_done_callback(self._noting(topic, rows, fingerprint))
                await asyncio.sleep(0.1)
            await producer.flush()

    def _noting(self, topic: str, rows: int, fingerprint: int) -> Callable[[asyncio.Future[tuple[int, int]]], None]:
        return lambda place: self._noted.append((topic, *place.result(), rows, fingerprint))

    def _write(self) -> None:
        unfinished = self._note.with_suffix(".unfinished")
        pl.DataFrame(self._noted, schema=NOTED, orient="row").write_parquet(unfinished)
        unfinished.replace(self._note)
