"""Logs of a small campus, as roll up and collectors would write them, and an evaluator that reads them in cuts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from schemas.alert import Alert
from schemas.facility import load
from schemas.meter import METER
from schemas.partial import PARTIAL, Envelope
from schemas.registry import Registry, assign
from schemas.rule import Rule
from schemas.subject import SubjectKind
from schemas.timeline import Timeline
from streams.evaluate import Evaluator, SiteWindows
from streams.snapshot import Restored, decode, restore, take
from streams.sums import SECOND
from streams.telling import ended
from streams.watch import Watch, watch
from streams.watches import Watches

EXAMPLE = Path(__file__).parents[2] / "examples" / "halo-2mw.toml"
START = 1_721_116_800 * SECOND
POWER = "telemetry.power.v1"
STREAMS = [("telemetry.gpu.v1", 0), (POWER, 0), (POWER, 1)]

RULES = (
    Rule(id="rack-high", scope="rack", severity="critical", summary="{rack} draws {value} of {limit}",
         above_watts=100_000.0, clear_below_watts=95_000.0),
    Rule(id="rack-held", scope="rack", severity="warning", summary="{rack} draws {value}", above_watts=90_000.0,
         for_secs=3.0, keep_firing_secs=2.0, no_data_after_secs=5.0),
    Rule(id="row-high", scope="row", severity="critical", summary="Row {row} draws {value}", above_watts=290_000.0,
         clear_below_watts=280_000.0, for_secs=2.0, no_data_after_secs=5.0),
    Rule(id="feed-high", scope="feed", severity="warning", summary="{feed} carries {value}", above_watts=150_000.0),
)  # fmt: skip


def small_campus() -> tuple[Registry, Watch]:
    registry = assign(load(EXAMPLE))
    return registry, watch(RULES, registry)


class PowerMessage(NamedTuple):
    partition: int
    offset: int
    rows: list[dict[str, object]]


class PartialMessage(NamedTuple):
    offset: int
    envelope: Envelope
    rows: pl.DataFrame


@dataclass
class Logs:
    """What lies in Kafka: `power` by partition, `partials` in one partition."""

    power: dict[int, list[PowerMessage]] = field(default_factory=lambda: {0: [], 1: []})
    partials: list[PartialMessage] = field(default_factory=list)

    def read(self, partition: int, second: float, watts: dict[int, float | None]) -> None:
        """Append one message of readings of the same instant."""
        at = {"time": START + round(second * SECOND), "phase": 0, "_partition": partition}
        offset = len(self.power[partition])
        rows = [at | {"meter": m, "power_watts": w, "_offset": offset} for m, w in watts.items()]
        self.power[partition].append(PowerMessage(partition, offset, rows))

    def partial(  # noqa: PLR0917
        self,
        stream: tuple[str, int],
        kind: str,
        first: int,
        end: int,
        rows: Iterable[dict[str, object]] = (),
        to: int = 0,
    ) -> None:
        """Append one partial that covers the seconds `[first, end)`."""
        envelope = Envelope(*stream, 0, to, kind, START + first * SECOND, START + end * SECOND, START + end * SECOND)
        frame = pl.DataFrame(list(rows), schema=PARTIAL.polars, orient="row")
        self.partials.append(PartialMessage(len(self.partials), envelope, frame))


def metered(second: int, meter: int, watts: float | None, readings: int = 1) -> dict[str, object]:
    """Return the partial row of a meter's second."""
    milliwatts = None if watts is None else round(watts * 1000)
    return dict.fromkeys(PARTIAL.polars) | {
        "second": START + second * SECOND, "subject_kind": int(SubjectKind.METER), "subject": meter,
        "power_milliwatts": milliwatts, "power_max_milliwatts": milliwatts, "utilization_count": 0, "expected": 1,
        "reporting": int(watts is not None), "readings": readings, "digest": second * 31 + meter * readings,
    }  # fmt: skip


def readings_of(messages: Iterable[PowerMessage]) -> pl.DataFrame:
    """Return admitted rows of messages."""
    schema = METER.polars | {"_partition": pl.Int32, "_offset": pl.Int64}
    empty = dict.fromkeys(schema)
    return pl.DataFrame([empty | row for each in messages for row in each.rows], schema=schema, orient="row")


def busy_hour(registry: Registry, seed: int, seconds: int = 40) -> Logs:
    """Write logs in which racks wander about the thresholds, meters fall silent, partials are late and revised."""
    draw, logs = np.random.default_rng(seed), Logs()
    racks = registry.racks["rack"].to_list()[:6]
    inputs = registry.sums.filter((pl.col("subject_kind") == SubjectKind.RACK) & pl.col("subject").is_in(racks))
    watts = dict.fromkeys(inputs["meter"], 45000.0)
    home = {meter: int(rack % 3 == 0) for rack, meter in inputs.select("subject", "meter").iter_rows()}
    silent_until = dict.fromkeys(watts, 0)
    for second in range(seconds):
        heard: dict[int, dict[int, float]] = {0: {}, 1: {}}
        for meter in watts:
            watts[meter] = round(min(70_000.0, max(30_000.0, watts[meter] + draw.normal(0, 4_000))), 3)
            if draw.random() < 0.02:
                silent_until[meter] = second + int(draw.integers(2, 12))
            if second >= silent_until[meter]:
                heard[home[meter]][meter] = watts[meter]
        for partition, readings in heard.items():
            logs.read(partition, second + 0.4, readings)
        _roll_up(logs, draw, second, heard)
    for stream in STREAMS:
        logs.partial(stream, "idle", seconds, seconds + 60, to=seconds)
    return logs


def _roll_up(logs: Logs, draw: np.random.Generator, second: int, heard: dict[int, dict[int, float]]) -> None:
    logs.partial(STREAMS[0], "idle", second, second + 1)
    for partition, readings in heard.items():
        late = [meter for meter in readings if draw.random() < 0.05]
        rows = [metered(second, meter, value) for meter, value in readings.items() if meter not in late]
        logs.partial((POWER, partition), "closing", second, second + 1, rows, to=second + 1)
        if late:
            rows = [metered(second, meter, readings[meter], readings=2) for meter in late]
            logs.partial((POWER, partition), "revision", second, second + 1, rows, to=second + 1)


@dataclass
class Run:
    """An evaluator over logs: reads in cuts, takes snapshots, dies and comes back."""

    watches: Watches
    logs: Logs
    evaluator: Evaluator
    at: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    partials_at: int = 0
    alerts: list[Alert] = field(default_factory=list)
    windows: list[SiteWindows] = field(default_factory=list)

    @classmethod
    def begin(cls, watched: Watch | Watches, logs: Logs) -> Run:
        watches = Watches.always(watched) if isinstance(watched, Watch) else watched
        return cls(watches, logs, Evaluator(watches, STREAMS))

    def hear(self, timeline: Timeline) -> None:
        """Hear of versions, as a worker does before it reads on."""
        self.watches = self.watches.following(timeline)
        self.alerts += self.evaluator.follow(self.watches)

    @property
    def is_over(self) -> bool:
        read_all = all(self.at[partition] >= len(log) for partition, log in self.logs.power.items())
        return read_all and self.partials_at >= len(self.logs.partials) and not self.evaluator.is_behind

    def drain(self, power: dict[int, int], partials: int) -> None:
        """Read up to so many more messages of each partition, and of the partials."""
        messages = []
        for partition, count in power.items():
            messages += self.logs.power[partition][self.at[partition] : self.at[partition] + count]
            self.at[partition] = min(self.at[partition] + count, len(self.logs.power[partition]))
        self.alerts += self.evaluator.read(readings_of(messages), dict(self.at))
        for message in self.logs.partials[self.partials_at : self.partials_at + partials]:
            self.evaluator.take(*message)
        self.partials_at = min(self.partials_at + partials, len(self.logs.partials))
        output = self.evaluator.close()
        self.alerts += output.alerts
        self.windows += output.windows

    def to_the_end(self) -> Run:
        while not self.is_over:
            self.drain({0: 10_000, 1: 10_000}, 10_000)
        return self

    def snapshot(self) -> bytes:
        return take(self.evaluator, {}).encode()

    def come_back(self, value: bytes) -> None:
        """Begin again from a snapshot, as after a kill."""
        restored: Restored = restore(decode(value), self.watches, STREAMS)
        self.evaluator = restored.evaluator
        self.alerts += [ended(machine, state) for machine, state in restored.orphans]
        self.at = {0: 0, 1: 0} | {number: at for (topic, number), at in restored.positions.items() if topic == POWER}
        self.partials_at = restored.positions["windows.rack.v1", 0]

    def told(self) -> list[Alert]:
        """Return each transition once, ordered by subject and time."""
        once = {alert.identity: alert for alert in self.alerts}
        return sorted(once.values(), key=lambda alert: (alert.rule, alert.subject, alert.at, alert.transition))


def newest(windows: Iterable[SiteWindows]) -> pl.DataFrame:
    """Return the greatest version of each window."""
    key = ["subject_kind", "subject", "every_seconds", "window_start"]
    rows = pl.concat([each.rows for each in windows])
    return rows.sort(*key, "version_readings").unique(key, keep="last", maintain_order=True).sort(key)
