"""A facility that changes while it is measured: versions, logs of readings, and workers that read them in any cuts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from schemas.alert import Alert
from schemas.arrow import PLACE_COLUMNS
from schemas.column import Record
from schemas.gpu import GPU
from schemas.meter import METER
from schemas.partial import Partial
from schemas.recomputation import Asked
from schemas.registry import Registry, assign
from schemas.rule import Rule
from schemas.timeline import Published, Timeline, admit_in_force
from schemas.window import WINDOW
from streams.devices import SiteMinute
from streams.evaluate import Evaluator, SiteWindows
from streams.in_force import InForce
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.snapshot import decode, restore, take
from streams.telling import ended
from streams.watches import Watches
from tests.schemas.small_facility import facility, site

SECOND = 1_000_000
START = 1_760_000_040 * SECOND
"""A second to count from: the start of a minute."""
GPU_PARTITIONS, METER_PARTITIONS = 2, 2
STREAMS = [
    *((GPU_TOPIC, number) for number in range(GPU_PARTITIONS)),
    *((METER_TOPIC, number) for number in range(METER_PARTITIONS)),
]
OPEN_AFTER = 10**9
RECORDS: dict[str, Record] = {GPU_TOPIC: GPU, METER_TOPIC: METER}

RULES = (
    Rule(id="rack-high", scope="rack", severity="critical", summary="{rack} draws {value} of {limit}",
         above_fraction_of_limit=0.9, clear_below_fraction_of_limit=0.8),
    Rule(id="rack-held", scope="rack", severity="warning", summary="{rack} draws {value}", above_watts=14_000.0,
         for_secs=2.0, keep_firing_secs=2.0, no_data_after_secs=4.0),
    Rule(id="row-high", scope="row", severity="critical", summary="Row {row} draws {value}", above_watts=30_000.0,
         clear_below_watts=28_000.0, for_secs=1.0, no_data_after_secs=4.0),
    Rule(id="feed-high", scope="feed", severity="warning", summary="{feed} carries {value}", above_watts=16_000.0),
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Say where racks stand, by name: rack → (row, pair of feeds, GPUs a node, budget in W)."""

    racks: Mapping[str, tuple[str, int, int, float]]

    def facility(self) -> Any:
        types = {
            f"box-{gpus}-{round(budget)}": {
                "vendor": "nvidia", "model": "h200", "nodes": 1, "gpus_per_node": gpus, "gpu_nameplate_watts": 4_000.0,
                "nameplate_watts": 24_000.0, "budget_watts": budget, "meters": ["a", "b"],
            }
            for _, _, gpus, budget in self.racks.values()
        }  # fmt: skip
        rows: dict[str, list[dict[str, Any]]] = {"r01": [], "r02": []}
        for name, (row, _, gpus, budget) in sorted(self.racks.items()):
            rows[row].append({"type": f"box-{gpus}-{round(budget)}", "ids": [name]})
        branch = {"rated_amps": 400.0, "voltage_volts": 400.0, "power_factor": 1.0}
        feeds = [
            {"id": f"ruh/feed-{pair}{side}", "fed_by": f"ruh/panel-{side}", "side": side,
             "twin": f"ruh/feed-{pair}{twin}",
             "racks": [f"ruh/h1/{row}/{name}" for name, (row, its, _, _) in sorted(self.racks.items()) if its == pair]}
            | branch
            for pair in (1, 2)
            for side, twin in ("ab", "ba")
        ]  # fmt: skip
        return facility(
            site({row: racks for row, racks in rows.items() if racks}),
            rack_types=types,
            utilities=[{"id": "ruh/grid", "rated_watts": 900_000.0}],
            ups_groups=[
                {"id": "ruh/ups", "fed_by": "ruh/grid", "redundancy": "n+1", "units": 3, "unit_watts": 300_000.0}
            ],
            panels=[{"id": f"ruh/panel-{side}", "fed_by": "ruh/ups"} | branch for side in "ab"],
            feeds=[feed for feed in feeds if feed["racks"]],
        )


class Change(NamedTuple):
    """Hold a plan and the second after START from which it counts."""

    at: int
    plan: Plan


def versions(first: Plan, changes: Iterable[Change]) -> list[Published]:
    """Return the versions as they lie in the log of the facility."""
    registry = assign(first.facility(), None)
    log = [Published(registry.parts[0], START - 100 * SECOND)]
    for change in changes:
        moment = datetime.fromtimestamp(START // SECOND + change.at, UTC)
        registry = assign(change.plan.facility(), registry, effective_from=moment)
        log.append(Published(registry.parts[0], START - 50 * SECOND))
    return log


class Reading(NamedTuple):
    """One reading; `at` in seconds after START; of a GPU `device` is (rack, node, gpu), of a meter its id."""

    at: float
    device: tuple[int, int, int] | int
    watts: float


Message = tuple[Reading, ...]
Log = dict[tuple[str, int], list[Message]]


def frame(topic: str, number: int, messages: Iterable[tuple[int, Message]]) -> pl.DataFrame:
    """Return decoded rows of messages (offset, readings)."""
    record = RECORDS[topic]
    nothing: dict[str, Any] = dict.fromkeys({**record.polars, **PLACE_COLUMNS})
    rows = []
    for offset, message in messages:
        for row, reading in enumerate(message):
            time = START + round(reading.at * SECOND)
            said = {"time": time, "power_watts": reading.watts, "averaging": 0}
            if isinstance(reading.device, tuple):
                said |= dict(zip(("rack", "node", "gpu"), reading.device, strict=True)) | {"utilization_fraction": 0.5}
            else:
                said |= {"meter": reading.device, "level": 6, "phase": 0, "quality": 0, "interval_seconds": 1.0}
            place = {"_partition": number, "_offset": offset, "_row": row, "_appended": time}
            rows.append(nothing | said | place)
    return pl.DataFrame(rows, schema={**record.polars, **PLACE_COLUMNS}, orient="row")


FIRST = 45
"""Where busy logs begin: a minute ends in them."""


def busy(timeline: Timeline, seed: int, seconds: int = 24) -> Log:
    """Write logs of all devices of all versions, whether they are in force or not: late, double, silent at times."""
    draw, registries = np.random.default_rng(seed), [epoch.registry for epoch in timeline.epochs]
    gpus = sorted({gpu for registry in registries for gpu in registry.slots.select("rack", "node", "gpu").iter_rows()})
    meters = sorted({meter for registry in registries for meter in registry.meters["meter"]})
    log: Log = {stream: [] for stream in STREAMS}
    level = dict.fromkeys([*gpus, *meters], 0.0)
    for second in range(FIRST, FIRST + seconds):
        for device in level:
            most = 3_800.0 if isinstance(device, tuple) else 11_000.0
            level[device] = round(float(np.clip(level[device] + draw.normal(0, most / 4), most / 10, most)), 1)
        for topic, devices, count in ((GPU_TOPIC, gpus, GPU_PARTITIONS), (METER_TOPIC, meters, METER_PARTITIONS)):
            for number in range(count):
                theirs = [each for each in devices if _home(each) % count == number and draw.random() > 0.06]
                at = second + round(float(draw.random()), 3)
                log[topic, number].append(tuple(Reading(at, each, level[each]) for each in theirs))
    for messages in log.values():
        for place in range(len(messages) - 1, 0, -1):
            if draw.random() < 0.15:
                other = max(0, place - int(draw.integers(1, 5)))
                messages[place], messages[other] = messages[other], messages[place]
            if draw.random() < 0.05:
                messages.insert(min(len(messages), place + 3), messages[place])
        messages[:] = [message for message in messages if message]
        # The end of a log closes everything before it.
        newest = max(reading.at for message in messages for reading in message)
        messages.append((messages[-1][0]._replace(at=newest + 3.0),))
    return log


def _home(device: tuple[int, int, int] | int) -> int:
    return device[0] if isinstance(device, tuple) else device // 3


@dataclass
class Workers:
    """Roll up and the evaluator of a campus, over a log: they read in cuts, are killed, and come back."""

    timeline: Timeline
    versions: list[Published]
    log: Log
    at: dict[tuple[str, int], int] = field(default_factory=lambda: dict.fromkeys(STREAMS, 0))
    read: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(METER_PARTITIONS), 0))
    partials: list[Partial] = field(default_factory=list)
    taken: int = 0
    clock: Literal["wall", "event"] = "event"
    asked: list[Asked] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    windows: list[SiteWindows | SiteMinute] = field(default_factory=list)

    @classmethod
    def begin(cls, published: list[Published], log: Log, heard: int = 1) -> Workers:
        """Begin with the first versions heard; the others are heard when they are needed, or by `hear`."""
        return cls(Timeline.of(published[:heard], "wall"), published[heard:], log)

    def __post_init__(self) -> None:
        self.watches = Watches(RULES, self.timeline)
        self.evaluator = Evaluator(self.watches, STREAMS)
        self.places: dict[tuple[str, int], tuple[int, str]] = {}
        self.restart_roll_up()

    def hear(self) -> None:
        """Hear of the next version."""
        if self.versions:
            self.timeline = self.timeline.with_(self.versions.pop(0))
            self.roll_up.follow(self.timeline)
            self.watches = self.watches.following(self.timeline)
            self.alerts += self.evaluator.follow(self.watches)

    def roll(self, counts: Mapping[tuple[str, int], int]) -> None:
        """Let roll up read so many more messages of each partition."""
        for topic in (GPU_TOPIC, METER_TOPIC):
            parts, ends = [], {}
            for stream in STREAMS:
                if stream[0] == topic and counts.get(stream):
                    part, ends[stream[1]] = self._next(stream, self.at[stream], counts[stream])
                    self.at[stream] = ends[stream[1]]
                    parts.append(part)
            if parts:
                self._hear_in_time(parts)
                rows = admit_in_force(RECORDS[topic], pl.concat(parts), self.timeline, clock="event").rows
                self.partials += self.roll_up.feed(topic, rows, ends, 0)

    def evaluate(self, counts: Mapping[int, int], partials: int) -> None:
        """Let the evaluator read so many more messages of each power partition, and of the partials."""
        parts, ends = [], {}
        for number, count in counts.items():
            part, ends[number] = self._next((METER_TOPIC, number), self.read[number], count)
            self.read[number] = ends[number]
            parts.append(part)
        if parts:
            self._hear_in_time(parts)
            rows = admit_in_force(METER, pl.concat(parts), self.timeline, clock="event").rows
            self.alerts += self.evaluator.read(rows, ends)
        for offset in range(self.taken, min(self.taken + partials, len(self.partials))):
            self.evaluator.take(offset, *self.partials[offset])
        self.taken = min(self.taken + partials, len(self.partials))
        output = self.evaluator.close()
        self.alerts += output.alerts
        self.windows += output.windows
        self.windows += (each for each in output.minutes if each.table == "windows")

    def _next(self, stream: tuple[str, int], at: int, count: int) -> tuple[pl.DataFrame, int]:
        end = min(at + count, len(self.log[stream]))
        return frame(*stream, enumerate(self.log[stream][at:end], at)), end

    def _hear_in_time(self, parts: list[pl.DataFrame]) -> None:
        """Do what broker.facility_log does: nobody reads what a version counts without knowing it."""
        newest = max((part["time"].to_physical().max() or 0 for part in parts if len(part)), default=0)
        while self.versions and int(self.versions[0].part.effective_from.replace(tzinfo=UTC).timestamp()) * SECOND <= (
            newest
        ):
            self.hear()

    def commit(self) -> None:
        """Ask for what came too late, then note where roll up may be read again."""
        self.asked += self.roll_up.asks()
        self.places = self.roll_up.places()

    def restart_roll_up(self) -> None:
        """Kill roll up and let it come back at its committed places, with what the facility is by now."""
        self.roll_up = RollUp(InForce.of(self.timeline), clock=self.clock)
        for stream in STREAMS:
            self.at[stream], note = self.places.get(stream, (0, ""))
            self.roll_up.assign(stream, note, 0)

    def snapshot(self) -> bytes:
        self.asked += self.evaluator.sums.asks()
        return take(self.evaluator, {}).encode()

    def restart_evaluator(self, value: bytes) -> None:
        restored = restore(decode(value), self.watches, STREAMS)
        self.evaluator = restored.evaluator
        self.alerts += [ended(machine, state) for machine, state in restored.orphans]
        self.read = dict.fromkeys(range(METER_PARTITIONS), 0)
        self.read |= {number: at for (topic, number), at in restored.positions.items() if topic == METER_TOPIC}
        self.taken = restored.positions["windows.rack.v1", 0]

    def to_the_end(self) -> Workers:
        """Read everything."""
        self.roll(dict.fromkeys(STREAMS, 10**6))
        self.partials += self.roll_up.idle(STREAMS, OPEN_AFTER)
        self.evaluate(dict.fromkeys(range(METER_PARTITIONS), 10**6), 10**6)
        while self.evaluator.is_behind:
            self.evaluate({}, 0)
        return self

    def told(self) -> list[Alert]:
        """Return each transition once, ordered by rule, subject and time."""
        once = {alert.identity: alert for alert in self.alerts}
        return sorted(once.values(), key=lambda alert: (alert.rule, alert.subject, alert.at, alert.transition))

    def stand(self, every: int = 1) -> pl.DataFrame:
        """Return the greatest version of each window of `every` seconds, without the seconds of the logs' ends."""
        key = ["window_start", "subject_kind", "subject"]
        version = ["version_facility", "version_readings"]
        rows = pl.concat([WINDOW.empty(), *(each.rows for each in self.windows)]).filter(
            pl.col("every_seconds") == every
        )
        return rows.sort(*key, *version, maintain_order=True).unique(key, keep="last", maintain_order=True).sort(key)


def second_of(windows: pl.DataFrame) -> pl.Series:
    """Return the second after START of each window."""
    return (windows["window_start"].cast(pl.Int64) - START) // SECOND


def by_epochs(published: list[Published], log: Log) -> pl.DataFrame:
    """Say once more, in another way, what stands: epoch by epoch, by workers that know one facility only.

    What was not registered at its own time is given to them as somebody's whom nobody knows; of what they tell, the
    seconds of their epoch count.
    """
    timeline = Timeline.of(published, "wall")
    registered: Log = {
        stream: [tuple(_registered(timeline.at(START + round(r.at * SECOND)), r) for r in message)
                 for message in messages]
        for stream, messages in log.items()
    }  # fmt: skip
    parts = []
    for epoch in timeline.epochs:
        workers = Workers(Timeline.always(epoch.registry), [], registered)
        stand = workers.to_the_end().stand()
        time = stand["window_start"].cast(pl.Int64)
        parts.append(stand.filter((time >= epoch.start) & (time < epoch.end)))
    return pl.concat(parts)


def _registered(registry: Registry, reading: Reading) -> Reading:
    """Return a reading as it is where its device is registered, else as one of nobody's: time passes all the same."""
    if isinstance(reading.device, tuple):
        known = reading.device in set(registry.slots.select("rack", "node", "gpu").iter_rows())
        return reading if known else reading._replace(device=(999, 9_990, 0))
    return reading if reading.device in set(registry.meters["meter"]) else reading._replace(device=999)


def cuts(draw: np.random.Generator, count: int) -> Iterator[dict[str, Any]]:
    """Yield random steps of workers."""
    for _ in range(count):
        yield {
            "roll": {stream: int(draw.integers(0, 6)) for stream in STREAMS},
            "read": {number: int(draw.integers(0, 6)) for number in range(METER_PARTITIONS)},
            "partials": int(draw.integers(0, 30)),
            "event": str(draw.choice(["", "", "", "hear", "commit", "commit", "snapshot", "kill", "kill"])),
        }
