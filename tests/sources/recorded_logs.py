"""Logs as the two formats write them, made to measure: for tests of what replay does with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

T0 = datetime(2024, 5, 16, 15, 48, 33, 845_000, tzinfo=UTC)


def milliseconds(seconds: float) -> int:
    """Return T0 + `seconds` as MLPerf writes it."""
    return (T0 + timedelta(seconds=seconds) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def stamp(seconds: float) -> str:
    """Return T0 + `seconds` as PTDaemon and loadgen write it."""
    return f"{T0 + timedelta(seconds=seconds):%m-%d-%Y %H:%M:%S.%f}"[:-3]


def event(key: str, seconds: float, value: object = None, **more: object) -> str:
    """Return one line of MLPerf's logs."""
    return f":::MLLOG {json.dumps({'time_ms': milliseconds(seconds), 'key': key, 'value': value, **more})}"


def node_log(path: Path, watts: list[object], every: float = 2.0, first: float = 0.0) -> Path:
    """Write a node's power log: markers around the readings."""
    times = [first + every * index for index in range(len(watts))]
    readings = [event("power_reading", at, value) for at, value in zip(times, watts, strict=True)]
    lines = [event("power_measurement_start", first), *readings, event("power_measurement_stop", times[-1])]
    return write(path, lines)


def analyser_log(path: Path, watts: list[object], first: float = 0.0) -> Path:
    """Write a PTDaemon log of one channel at 1 Hz."""
    form = "Time,{},Watts,{},Volts,230.0,Amps,4.0,PF,0.950000,Mark,x"
    return write(path, [form.format(stamp(first + index), value) for index, value in enumerate(watts)])


def loadgen_log(path: Path, begin: float, end: float) -> Path:
    """Write what loadgen says of the power interval."""
    return write(path, [event("power_begin", 0, stamp(begin)), event("power_end", 0, stamp(end))])


def job_log(path: Path, begin: float, end: float, status: str = "success") -> Path:
    """Write a training job's log."""
    return write(path, [event("run_start", begin), event("run_stop", end, metadata={"status": status})])


def write(path: Path, lines: list[str]) -> Path:
    """Write lines, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
