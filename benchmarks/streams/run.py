"""`make bench-streams`: the streams at campus load and at full speed, on a real Kafka, five runs, the median counts.

Every figure is one JSON line with its bar. `--only` picks a part: live, speed, linear, memory; `--runs 1` is quick.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.campus import SECOND, campus_registry
from benchmarks.figures import tell
from benchmarks.load import gpu_rows
from benchmarks.streams import linear, live
from benchmarks.streams.full_speed import Run, run_once, start_up_secs, write_log

LIVE_SECS = 30.0
SPEED_SECONDS = {2_000: 200, 350: 150, 46: 60}
"""Seconds of campus in the log, by rows a message: each run takes some seconds of CPU at least."""
SPEED_BARS = {2_000: 4_000_000, 350: 2_000_000, 46: 500_000}
CAMPUSES = (1, 4, 16)
LINEAR_BAR = 1.1
"""A rack of a larger campus costs at most so much of what one of the campus costs."""
MEMORY_WARM_UP_SECS, MEMORY_SECS, MEMORY_EVERY_SECS = 120.0, 600.0, 10.0
MEMORY_BAR = 1.0
"""MB a minute; what is allocated and freed moves by a few MB either way."""


def measure_live(runs: int) -> None:
    """Tell the cores of every process, and the latency of alerts and sums, over `runs` stretches of one campus day."""
    with live.pipeline() as running:
        began = int(time.time() * SECOND)
        stretches = [live.cores(running, LIVE_SECS) for _ in range(runs)]
        told = (live.sum_latencies, live.load_latencies, live.echo_latencies)
        sums, load, echo = (each(running.bootstrap, began) for each in told)
        alerts = live.alert_delays(running.bootstrap, began, campus_registry())
        held = {part: live.loop_delays(running.bootstrap, began, part) for part in ("roll-up", "evaluate")}
    streams = [each["roll-up"] + each["evaluate"] for each in stretches]
    tell("live: roll up + evaluate", streams, "cores", most=0.35)
    tell(
        "live: roll up + evaluate + lake",
        [sum(each[part] for part in live.PARTS) for each in stretches],
        "cores",
        most=0.5,
    )
    for part in (*live.PARTS, "broker", "load"):
        tell(f"live: {part}", [each[part] for each in stretches], "cores")
    for part, longest in held.items():
        tell(f"live: {part}, event loop held, longest in 5 s", longest, "s")
    latencies = live.alert_latencies(alerts)
    _tell_latency("alert on one rack or feed, append to append", latencies, {50: 0.060, 99: 0.150}, echo)
    slowest = live.slowest_seconds(alerts)
    tell("live: slowest alert", float(latencies.max()), "s", by_second_of_the_minute=slowest)
    _tell_latency("load, reading made to append", load, {}, echo)
    _tell_latency("sums, end of second to append", sums, {99: 1.0}, echo)


def _tell_latency(name: str, found: np.ndarray, bars: dict[int, float], echo: np.ndarray) -> None:
    for percent in (50, 99):
        peer = float(np.percentile(echo, percent))
        value = float(np.percentile(found, percent))
        tell(f"live: {name}, p{percent}", value, "s", most=bars.get(percent), peer=peer, measured=len(found))


def measure_speed(runs: int) -> None:
    """Tell GPU rows per CPU-second from Kafka to windows in Kafka, beside the bare consumer, by size of message."""
    with tempfile.TemporaryDirectory() as name:
        start_up = start_up_secs(Path(name))
        tell("speed: CPU before the first message, both workers", sum(start_up), "s")
        for rows, seconds in SPEED_SECONDS.items():
            _tell_speed(
                f"speed: {rows} rows a message", *_runs(Path(name), rows, seconds, start_up, runs), SPEED_BARS[rows]
            )


def measure_linear(_: int) -> None:
    """Tell what a rack and second costs in a campus, in four and in sixteen, in process: see linear.py."""
    one = None
    for times in CAMPUSES:
        cost = linear.measure(times)
        micros, most = cost.micros_a_rack_second, one and one * LINEAR_BAR
        tell(f"linear: ×{times}, {cost.racks} racks", micros, "CPU µs a rack and second", most=most, peer=one)
        for name, spent in (("roll up", cost.roll_up), ("evaluate", cost.evaluate)):
            tell(f"linear: ×{times}, {name}", spent / cost.seconds, "cores")
        one = one or micros


def _runs(folder: Path, rows: int, seconds: int, start_up: list[float], runs: int) -> tuple[int, list[Run]]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        log = write_log(Path(name) / "kafka", rows, seconds)
        return log.rows, [run_once(log, start_up, Path(name)) for _ in range(runs)]


def _tell_speed(name: str, rows: int, runs: list[Run], bar: float) -> None:
    bare = [rows / run.bare for run in runs]
    peer = tell(f"{name}, aiokafka + decode alone", bare, "GPU rows/CPU-second")
    tell(f"{name}, roll up + evaluate", [rows / run.ours for run in runs], "GPU rows/CPU-second", least=bar, peer=peer)
    tell(f"{name}, roll up alone", [rows / run.roll_up for run in runs], "GPU rows/CPU-second", peer=peer)
    tell(f"{name}, by the clock", [rows / run.wall for run in runs], "GPU rows/s")
    tell(f"{name}, broker", [rows / run.broker for run in runs], "GPU rows/CPU-second")


def measure_memory(_: int) -> None:
    """Tell by how much resident memory grows a minute over ten minutes at campus load, after the first two."""
    registry = campus_registry()
    with live.pipeline() as running:
        time.sleep(MEMORY_WARM_UP_SECS)
        began, sent, samples = time.monotonic(), gpu_rows(running.bootstrap, registry), []
        while (age := time.monotonic() - began) < MEMORY_SECS:
            samples.append((age, live.memory_bytes(running)))
            time.sleep(MEMORY_EVERY_SECS)
        came = (gpu_rows(running.bootstrap, registry) - sent) / (time.monotonic() - began)
    tell("memory: load", came, "GPU rows/s", peer=len(registry.slots))
    minutes = np.array([age for age, _ in samples]) / 60
    for part in live.PARTS:
        series = np.array([held[part] for _, held in samples]) / 1e6
        by_minute = [round(float(np.median(series[minutes // 1 == minute])), 1) for minute in np.unique(minutes // 1)]
        tell(f"memory: {part}", float(np.median(series)), "MB", by_minute=by_minute)
        tell(f"memory: {part}, growth", float(np.polyfit(minutes, series, 1)[0]), "MB/min", most=MEMORY_BAR)


MEASURES: dict[str, Callable[[int], None]] = {
    "live": measure_live,
    "speed": measure_speed,
    "linear": measure_linear,
    "memory": measure_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=tuple(MEASURES), action="append")
    given = parser.parse_args()
    for name in given.only or MEASURES:
        MEASURES[name](given.runs)


if __name__ == "__main__":
    main()
