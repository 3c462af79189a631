"""MLPerf logs: lines of `:::MLLOG {json}`, with a rank before them or not.

Three kinds are read here, told apart by their keys: a node's power log (`power_measurement_start`,
`power_reading` in watts, `power_measurement_stop`), a training job's log (`run_start`, `run_stop`,
`submission_…`) and loadgen's log of an inference run (`power_begin`, `power_end`).

Lines are decoded one by one, since JSON that is broken in one line must not cost its neighbours.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl

from schemas.subject import MeterLevel
from sources.recorded.log import LAST_MICROSECOND, READINGS, FileLog, MeterLog, Span, Unread, numbered_lines, read_text

NODE_SIGNATURE = re.compile(
    rb":::MLLOG[^\n]*\"(?:power_reading|power_measurement_start|power_measurement_stop|[a-z_]*power_est)\""
)
JOB_SIGNATURE = re.compile(rb":::MLLOG[^\n]*\"run_st(?:art|op)\"")
INTERVAL_SIGNATURE = re.compile(rb":::MLLOG[^\n]*\"power_(?:begin|end)\"")

_START, _READING, _STOP = "power_measurement_start", "power_reading", "power_measurement_stop"
_RANK = re.compile(r"\W*(?:rank\W*)?(\d+)\W*", re.IGNORECASE)


class _Event(msgspec.Struct):
    key: str
    time_ms: float | int | str | None = None
    value: Any = None
    metadata: Any = None

    @property
    def time(self) -> int:
        """Return UTC µs; ValueError where the stamp is no time."""
        milliseconds = float(self.time_ms) if isinstance(self.time_ms, str) else self.time_ms
        if milliseconds is None or not 0 <= milliseconds * 1000 < LAST_MICROSECOND:
            raise ValueError(f"time_ms is {self.time_ms!r}, which is no time")
        return round(milliseconds * 1000)

    @property
    def watts(self) -> float:
        """Return the value as a number; ValueError where it is none."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float | str):
            raise ValueError(f"value is {self.value!r}, not a number of watts")
        return float(self.value)


_decode = msgspec.json.Decoder(_Event).decode


def read_node(path: Path) -> FileLog:
    """Read a node's power log; where lines of several ranks are mixed in it, each rank is a meter."""
    meters: dict[str, _Measuring] = {}
    unread: list[Unread] = []
    beside: Counter[str] = Counter()
    for line, text in numbered_lines(read_text(path)).iter_rows():
        try:
            _take(text, meters, beside)
        except (ValueError, RecursionError) as error:
            unread.append(Unread(line, str(error)))
    names = {rank: f"{path.stem}-{rank}" if len(meters) > 1 else path.stem for rank in meters}
    logs = tuple(meter.log(names[rank]) for rank, meter in meters.items())
    return FileLog(path, logs, tuple(unread), beside)


class JobLog(NamedTuple):
    """Hold what a training job's log says of the job; times are UTC µs."""

    started: int | None = None
    ended: int | None = None
    status: str | None = None
    benchmark: str | None = None


def read_job(path: Path) -> JobLog:
    """Read a training job's log: the first `run_start`, the last `run_stop`, and what was submitted."""
    events: dict[str, list[_Event]] = {}
    for event in _events_of(path, "run_start", "run_stop", "submission_benchmark"):
        events.setdefault(event.key, []).append(event)
    starts = [event.time for event in events.get("run_start", [])]
    stops = events.get("run_stop", [])
    return JobLog(
        started=min(starts, default=None),
        ended=max((event.time for event in stops), default=None),
        status=next((event.metadata["status"] for event in stops if _has_status(event)), None),
        benchmark=next((str(event.value) for event in events.get("submission_benchmark", [])), None),
    )


def read_interval(path: Path) -> tuple[tuple[int | None, int | None], ...]:
    """Read loadgen's log: from `power_begin` to `power_end` in UTC µs, None for a bound that is missing."""
    bounds: list[tuple[int | None, int | None]] = []
    for event in _events_of(path, "power_begin", "power_end"):
        time = _loadgen_time(event.value)
        if event.key == "power_begin":
            bounds.append((time, None))
        elif bounds and bounds[-1][1] is None:
            bounds[-1] = (bounds[-1][0], time)
        else:
            bounds.append((None, time))
    return tuple(bounds)


@dataclass
class _Measuring:
    """Follow one meter through its log: its readings and the spans between its markers."""

    times: list[int] = field(default_factory=list)
    watts: list[float] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    started: int | None = None
    latest: int | None = None

    def start(self, time: int) -> None:
        self.stop()
        self.started = time

    def read(self, time: int, watts: float) -> None:
        self.times.append(time)
        self.watts.append(watts)
        self.started = time if self.started is None else self.started
        self.latest = time if self.latest is None else max(self.latest, time)

    def stop(self, time: int = 0) -> None:
        """End the span at its stop marker, or at its last reading where the marker is missing.

        A marker that stands after the readings in the log cannot be earlier than they are: some
        carry the time of the start, and the last reading is the end then too.
        """
        if self.started is not None and self.latest is not None:
            self.spans.append(Span(self.started, max(self.latest, time)))
        self.started = self.latest = None

    def log(self, name: str) -> MeterLog:
        """Return what was followed; a span still open ends here."""
        self.stop()
        readings = pl.DataFrame(schema=READINGS)
        if self.times:
            times = pl.Series("time", self.times, dtype=pl.Int64).cast(pl.Datetime("us"))
            watts = pl.Series("power_watts", self.watts, dtype=pl.Float64)
            known = pl.DataFrame([times, watts]).with_columns(phase=pl.lit(0, pl.Int8))
            readings = pl.concat([readings, known], how="diagonal").sort("time", maintain_order=True)
        return MeterLog(name, MeterLevel.NODE, readings, tuple(self.spans))


def _take(text: str, meters: dict[str, _Measuring], beside: Counter[str]) -> None:
    """Take one line of a node's log; ValueError says why it cannot be read."""
    prefix, mark, body = text.partition(":::MLLOG")
    if not mark:
        raise ValueError("no :::MLLOG in it")
    event = _decode(body.strip())
    if event.key not in (_START, _READING, _STOP):
        beside[event.key] += 1
        return
    time = event.time
    rank = _RANK.fullmatch(prefix)
    meter = meters.setdefault(rank[1] if rank else "", _Measuring())
    if event.key == _START:
        meter.start(time)
    elif event.key == _READING:
        meter.read(time, event.watts)
    else:
        meter.stop(time)


def _events_of(path: Path, *keys: str) -> Iterator[_Event]:
    """Yield the events with one of the keys that can be read; a job's log is full of other lines."""
    wanted = re.compile("|".join(f'"{key}"' for key in keys))
    for line in read_text(path).splitlines():
        _, mark, body = line.partition(":::MLLOG")
        if not mark or not wanted.search(body):
            continue
        with contextlib.suppress(ValueError, RecursionError):
            event = _decode(body.strip())
            if event.key in keys and event.time >= 0:
                yield event


def _loadgen_time(value: object) -> int | None:
    try:
        stamp = datetime.strptime(str(value).strip(), "%m-%d-%Y %H:%M:%S.%f")
    except ValueError:
        return None
    return (stamp - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def _has_status(event: _Event) -> bool:
    return isinstance(event.metadata, dict) and isinstance(event.metadata.get("status"), str)
