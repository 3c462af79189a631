"""What every process of the pipeline costs under the campus, live at 1 Hz, on a real Kafka.

The load is that of `benchmarks/campus.py`, the rules the shipped ones and two that fire at the first reading over a
limit; `--load simulate` takes the simulation of `make demo` with its incident instead. CPU is that of the whole
process over a stretch in the middle of the run, so start-up is not in it; GPU rows are those that came into Kafka
in it, and how many these are of those that were due is said: on a machine that is too busy the load comes late.
`python -m benchmarks.pipeline.run [--scale 150MW] [--secs 60] [--load simulate]`
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.campus import SCALE
from benchmarks.figures import tell
from benchmarks.load import gpu_rows
from benchmarks.processes import cpu_secs
from benchmarks.streams.live import rules_file
from broker import facility as published
from broker.admin import create_topics
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.supervisor import Supervisor, Worker
from schemas.facility import load
from schemas.registry import Registry
from wattline.demo import topics
from wattline.parts import PARTS, Settings, workers
from wattline.scales import SCALES, facility_file

WARM_UP_SECS = 25.0
BREACHING = 20
"""Racks and as many feeds that are over their limit now and then."""


def load_worker(name: str, scale: str, bootstrap: str) -> Worker:
    """Return the process that sends the campus, or the simulation with its incident."""
    if name == "simulate":
        argv = ("-m", "wattline", "simulate", "--incident", "rack-over-limit", "--bootstrap", bootstrap)
    else:
        argv = ("-m", "benchmarks.load", bootstrap, "--live", "--scale", scale, "--breaching", str(BREACHING))
    return Worker(f"{name}-0", (sys.executable, *argv))


async def prepare(bootstrap: str, scale: str) -> Registry:
    """Make the topics and publish the campus."""
    await create_topics(bootstrap, topics=topics())
    return await published.publish(bootstrap, load(facility_file(scale)))


def first_alert_secs(bootstrap: str, begun: float) -> float | None:
    """Return the seconds from `begun` to the append of the first alert that fired, None where none did."""
    messages = asyncio.run(read_to_end(bootstrap, "alerts.v1"))
    fired = [message.appended for message in messages if b'"transition":"firing"' in (message.value or b"")]
    return min(fired) / 1e6 - begun if fired else None


def measure(scale: str, secs: float, load: str, folder: Path) -> None:
    """Run everything for a while and print what it cost."""
    begun = time.time()
    with EmbeddedKafka(folder / "kafka") as kafka:
        registry = asyncio.run(prepare(kafka.bootstrap, scale))
        rules = None if load == "simulate" else rules_file(folder)
        parts = workers(PARTS, Settings(kafka.bootstrap, folder / "lake", rules=rules))
        with Supervisor([*parts, load_worker(load, scale, kafka.bootstrap)], folder / "logs") as supervisor:
            time.sleep(WARM_UP_SECS)
            pids = {state.name: state.pid for state in supervisor.states()} | {"kafka": kafka.nodes[0].pid}
            sent, before, started = gpu_rows(kafka.bootstrap, registry), cpu_secs(pids.values()), time.monotonic()
            time.sleep(secs)
            after, took = cpu_secs(pids.values()), time.monotonic() - started
            rows = gpu_rows(kafka.bootstrap, registry) - sent
            first = first_alert_secs(kafka.bootstrap, begun)
    tell(f"pipeline_{scale}_load", rows / took, "GPU rows/s", peer=len(registry.slots))
    for name, start, end in zip(pids, before, after, strict=True):
        dear = round((end - start) / rows * 1e6, 3)
        tell(f"pipeline_{scale}_{name}_core", (end - start) / took, "cores", cpu_secs_a_million_gpu_rows=dear)
    if first is not None:
        tell(f"pipeline_{scale}_first_alert", first, "s from start", most=60.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=list(SCALES), default=SCALE)
    parser.add_argument("--secs", type=float, default=60.0)
    parser.add_argument("--load", choices=["campus", "simulate"], default="campus")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wattline-bench-") as place:
        measure(chosen.scale, chosen.secs, chosen.load, Path(place))
