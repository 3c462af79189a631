"""What every process of the pipeline costs under a simulated campus, live at 1 Hz, on a real Kafka.

CPU is that of the whole process over a stretch in the middle of the run, so start-up is not in it; GPU rows
are those that Kafka acknowledged in it. `python -m benchmarks.pipeline.run [--scale 35MW] [--secs 60]`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

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


def tell(name: str, value: float, unit: str, **more: object) -> None:
    """Print one figure as a JSON line, the load average beside it."""
    line = {"name": name, "value": round(value, 4), "unit": unit, **more, "load_average": round(os.getloadavg()[0], 2)}
    print(json.dumps(line), flush=True)


def cpu_secs(pids: dict[str, int]) -> dict[str, float]:
    """Return user + system CPU seconds of each process so far."""
    times = {name: psutil.Process(pid).cpu_times() for name, pid in pids.items()}
    return {name: each.user + each.system for name, each in times.items()}


async def prepare(bootstrap: str, scale: str) -> Registry:
    """Make the topics and publish the campus."""
    await create_topics(bootstrap, topics=topics())
    return await published.publish(bootstrap, load(facility_file(scale)))


def first_alert_secs(bootstrap: str, begun: float) -> float | None:
    """Return the seconds from `begun` to the append of the first alert that fired, None where none did."""
    messages = asyncio.run(read_to_end(bootstrap, "alerts.v1"))
    fired = [message.appended for message in messages if b'"transition":"firing"' in (message.value or b"")]
    return min(fired) / 1e6 - begun if fired else None


def measure(scale: str, secs: float, folder: Path) -> None:
    """Run everything for a while and print what it cost."""
    begun = time.time()
    with EmbeddedKafka(folder / "kafka") as kafka:
        registry = asyncio.run(prepare(kafka.bootstrap, scale))
        argv = (sys.executable, "-m", "wattline", "simulate", "--incident", "rack-over-limit", "--bootstrap")
        simulator = Worker("simulate-0", (*argv, kafka.bootstrap))
        parts = workers(PARTS, Settings(kafka.bootstrap, folder / "lake"))
        with Supervisor([*parts, simulator], folder / "logs") as supervisor:
            time.sleep(WARM_UP_SECS)
            pids = {state.name: state.pid for state in supervisor.states()} | {"kafka": kafka.nodes[0].pid}
            before, started = cpu_secs(pids), time.monotonic()
            time.sleep(secs)
            after, took = cpu_secs(pids), time.monotonic() - started
            first = first_alert_secs(kafka.bootstrap, begun)
    rows = len(registry.slots) * took
    for name in pids:
        spent = after[name] - before[name]
        tell(
            f"pipeline_{scale}_{name}_core",
            spent / took,
            "cores",
            cpu_secs_a_million_gpu_rows=round(spent / rows * 1e6, 3),
        )
    if first is not None:
        tell(f"pipeline_{scale}_first_alert", first, "s from start", bar=60.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=list(SCALES), default="35MW")
    parser.add_argument("--secs", type=float, default=60.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wattline-bench-") as place:
        measure(chosen.scale, chosen.secs, Path(place))
