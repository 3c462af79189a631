"""Minutes of GPUs and nodes, from readings through roll up and evaluator, against plain loops over all readings."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC
from itertools import pairwise
from math import gcd
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.histogram import HISTOGRAM, Metric, power_bin
from schemas.partial import PARTIAL, Envelope, Partial
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind, gpu_subject
from schemas.window import WINDOW
from streams.evaluate import Evaluator
from streams.roll_up import GPU_TOPIC, RollUp
from streams.snapshot import decode, restore, take
from streams.watch import watch
from streams.watches import Watches
from tests.schemas.small_facility import BOX, facility, site
from tests.streams.log import SECOND, START, Gpu, always, gpu_frame, meters
from tests.streams.test_gpu_pieces import admissible

STREAMS = [(GPU_TOPIC, 0), (GPU_TOPIC, 1), ("telemetry.power.v1", 0)]
MINUTES = [START // 60 * 60 + 60 * nth for nth in range(5)]
"""The first of them began before START."""
SMALL = BOX | {"nodes": 2, "gpus_per_node": 2, "meters": []}


def campus(**keys: Any) -> Registry:
    """Return two racks of two nodes of two GPUs of 700 W."""
    racks = [{"type": "box", "ids": ["k01", "k02"]}]
    return assign(facility(site({"r01": racks}), rack_types={"box": SMALL}, **keys))


CAMPUS = campus()


def slot(nth: int) -> dict[str, int]:
    """Return where the nth GPU of the campus is."""
    return CAMPUS.slots.select("rack", "node", "gpu").row(nth, named=True)


def steady(seconds: range, nth: int, power: int = 5_000, **fields: Any) -> list[list[Gpu]]:
    """Return a message a second of one GPU; fields are functions of the second, or what they are always."""

    def at(value: Any, second: int) -> Any:
        return value(second) if callable(value) else value

    return [[Gpu(second + 0.5, **slot(nth), power=at(power, second),
                 **{name: at(value, second) for name, value in fields.items()})] for second in seconds]  # fmt: skip


def rolled_up(log: list[list[Gpu]], partition: int, cuts: list[int] = [], kill: int | None = None) -> list[Partial]:  # noqa: B006
    """Return what workers make of a log of one partition: in drains that end at `cuts`, killed once."""
    told: list[Partial] = []
    first, note, lives = 0, "", [kill, len(log)] if kill is not None else [len(log)]
    for end in lives:
        roll_up = RollUp(always(CAMPUS.slots, meters()))
        roll_up.assign((GPU_TOPIC, partition), note, 0)
        bounds = [first, *(cut for cut in sorted(set(cuts)) if first < cut < end), end]
        for low, high in pairwise(bounds):
            messages = [(offset, log[offset]) for offset in range(low, high)]
            told += roll_up.feed(GPU_TOPIC, gpu_frame(messages, partition), {partition: high}, 0)
        first, note = roll_up.places().get((GPU_TOPIC, partition), (first, note))
    return told


class Life:
    """An evaluator that reads partials in drains and may be killed."""

    def __init__(self, partials: list[Partial], registry: Registry = CAMPUS) -> None:
        self.watches = Watches.always(watch([], registry))
        self.evaluator = Evaluator(self.watches, STREAMS)
        self.partials, self.at = partials, 0
        self.windows: list[pl.DataFrame] = [WINDOW.empty()]
        self.histograms: list[pl.DataFrame] = [HISTOGRAM.empty()]

    def drain(self, count: int) -> None:
        for offset in range(self.at, min(self.at + count, len(self.partials))):
            self.evaluator.take(offset, *self.partials[offset])
        self.at = min(self.at + count, len(self.partials))
        output = self.evaluator.close()
        self.windows += [each.rows for each in output.windows]
        for minute in output.minutes:
            (self.windows if minute.table == "windows" else self.histograms).append(minute.rows)

    def to_the_end(self) -> Life:
        while self.at < len(self.partials) or self.evaluator.is_behind:
            self.drain(1_000)
        return self

    def snapshot(self) -> bytes | None:
        return take(self.evaluator, {}).encode() if self.evaluator.is_settled else None

    def come_back(self, value: bytes) -> None:
        restored = restore(decode(value), self.watches, STREAMS)
        self.evaluator, self.at = restored.evaluator, restored.positions["windows.rack.v1", 0]

    def minutes(self) -> pl.DataFrame:
        """Return the version of each minute of GPUs and nodes that stands: the fullest, of equal ones the last."""
        rows = pl.concat(self.windows).filter(
            pl.col("subject_kind").is_in([SubjectKind.GPU, SubjectKind.NODE]) & (pl.col("every_seconds") == 60)
        )
        key = ["subject_kind", "subject", "window_start"]
        return rows.sort("version_readings", maintain_order=True).unique(key, keep="last").sort(key)


def nobody(end: int) -> Partial:
    """Return the note of a power partition that has nothing."""
    last = (START + end) * SECOND
    return Partial(Envelope("telemetry.power.v1", 0, 0, 0, "idle", 0, last, 0), PARTIAL.empty())


def idle_gpus(end: int) -> Partial:
    """Return the note of the other GPU partition that has nothing."""
    return Partial(Envelope(GPU_TOPIC, 1, 0, 0, "idle", 0, (START + end) * SECOND, 0), PARTIAL.empty())


def minutes_of(log: list[list[Gpu]]) -> dict[tuple[str, int], dict[str, Any]]:
    """Return, by GPU and minute (`at` its start in seconds), the rows that are told of one partition's log."""
    life = Life([nobody(10_000), idle_gpus(10_000), *rolled_up(log, 0)]).to_the_end()
    kinds = {SubjectKind.GPU: "gpu", SubjectKind.NODE: "node"}
    return {
        (f"{kinds[row['subject_kind']]} {row['subject']}", MINUTES.index(int(row["window_start"].replace(
            tzinfo=UTC).timestamp()))): row
        for row in life.minutes().iter_rows(named=True)
    }  # fmt: skip


def by_the_book(logs: list[list[list[Gpu]]], minutes: list[int]) -> dict[tuple[int, int], dict[str, Any]]:
    """Return (GPU, minute) → values, by loops over all readings that came in time."""
    stands: dict[int, dict[int, Gpu]] = defaultdict(dict)
    warmest: dict[tuple[int, int], float] = {}
    highest: dict[tuple[int, int], int] = {}
    for log in logs:
        for second, each in admissible(log)[0]:
            gpu, held = gpu_subject(each.node, each.gpu), stands[gpu_subject(each.node, each.gpu)].get(second)
            if held is None or rank(each) > rank(held):
                stands[gpu][second] = each
            warmest[gpu, second] = max(each.temperature or -99, warmest.get((gpu, second), -99))
            highest[gpu, second] = max(-1 if each.power is None else each.power, highest.get((gpu, second), -1))
    found = {}
    for gpu in CAMPUS.slots.select(gpu_subject(pl.col("node"), pl.col("gpu"))).to_series().to_list():
        for minute in minutes:
            inside = [(s, stands[gpu][s]) for s in range(minute - START, minute - START + 60) if s in stands[gpu]]
            before = [stands[gpu][s] for s in range(minute - START - 60, minute - START) if s in stands[gpu]]
            powers = [each.power for _, each in inside if each.power is not None]
            used = [each.utilization for _, each in inside if each.utilization is not None]
            heat = max((warmest[gpu, s] for s, _ in inside), default=-99)
            joules, method = energy(before, [each for _, each in inside], powers)
            silent = 60 - len(powers)
            found[gpu, minute] = {
                "power_watts": round(sum(powers) * 100 / len(powers)) / 1000 if powers else None,
                "power_low_watts": round(sum(powers) * 100 / 60) / 1000,
                "power_high_watts": round((sum(powers) * 100 + silent * 700_000) / 60) / 1000,
                "power_max_watts": max(highest[gpu, s] for s, _ in inside) / 10 if powers else None,
                "energy_joules": joules,
                "energy_method": method,
                "utilization_fraction": sum(used) / len(used) / 1e4 if used else None,
                "temperature_max_celsius": heat if heat > -99 else None,
                "expected": 1,
                "reporting": int(not silent),
                "oldest_age_seconds": (
                    (60_000_000 - (round(inside[-1][1].at * SECOND) - (minute - START) * SECOND)) / 1e6
                    if inside else None
                ),
            }  # fmt: skip
    return found


def rank(reading: Gpu) -> tuple[Any, ...]:
    """Say which of two readings of a second stands."""
    values = (reading.power, reading.utilization, reading.energy)
    return (
        reading.power is not None,
        round(reading.at * SECOND),
        *(-1 if value is None else value for value in values),
    )


def energy(before: list[Gpu], inside: list[Gpu], powers: list[int]) -> tuple[float | None, int | None]:
    earlier = [each.energy for each in before if each.energy is not None][-1:]
    chain = earlier + [each.energy for each in inside if each.energy is not None]
    gained = chain[-1] - chain[0] if earlier and len(chain) > 1 else 0
    is_rising = all(one <= next_one for one, next_one in pairwise(chain))
    if is_rising and gained > 0 and gained >= 100 * gcd(chain[0], chain[-1]) and gained <= 2 * 700 * 120:
        return float(gained), 1
    return (sum(powers) / 10, 3) if powers else (None, None)


def random_log(draw: random.Random, gpus: list[int], seconds: int) -> list[list[Gpu]]:
    """Draw messages of one partition: late ones, repeats, silences, counters that are reset."""
    log: list[list[Gpu]] = []
    counter = {nth: draw.randrange(10**6) for nth in gpus}
    silent = dict.fromkeys(gpus, 0)
    for second in range(seconds):
        message = []
        for nth in gpus:
            counter[nth] = draw.randrange(1_000) if draw.random() < 0.004 else counter[nth] + draw.randrange(900)
            if draw.random() < 0.02:
                silent[nth] = second + draw.randrange(70)
            if second >= silent[nth]:
                some = draw.random()
                message.append(Gpu(
                    round(second + draw.choice((0.0, 0.25, 0.5, 0.75)), 3), **slot(nth),
                    power=None if some < 0.05 else draw.randrange(8_000),
                    utilization=None if some > 0.95 else draw.randrange(10_001),
                    temperature=None if some > 0.9 else draw.randrange(300, 900) / 10,
                    energy=None if 0.4 < some < 0.5 else counter[nth],
                ))  # fmt: skip
        if message:
            log.append(message)
            if draw.random() < 0.05:
                log.append(draw.choice(log[-12:]))
            if draw.random() < 0.05:
                log.insert(max(1, len(log) - draw.randrange(1, 14)), log.pop())
    return log


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 10**6))
def test_minutes_are_those_of_all_readings_at_once_in_any_drains_and_lives(seed: int) -> None:
    """Workers and evaluator are killed, drains end anywhere, readings come late and twice."""
    draw = random.Random(seed)
    logs = [random_log(draw, [0, 1, 2, 3], 230), random_log(draw, [4, 5, 6], 230)]
    told = [rolled_up(log, number, [draw.randrange(len(log)) for _ in range(30)], draw.randrange(len(log)))
            for number, log in enumerate(logs)]  # fmt: skip
    partials = [nobody(10_000)]
    while any(told):
        partials.append(draw.choice([each for each in told if each]).pop(0))
    life, value = Life(partials), None
    while life.at < len(life.partials):
        life.drain(draw.randrange(1, 30))
        value = life.snapshot() or value
        if value is not None and draw.random() < 0.03:
            life.come_back(value)
    life.to_the_end()
    closed = min(admissible(log)[1] for log in logs) + START
    minutes = [minute for minute in MINUTES if minute + 60 <= closed]
    wanted = by_the_book(logs, minutes)
    rows = life.minutes().filter(subject_kind=SubjectKind.GPU.value)
    found = {(row["subject"], int(row["window_start"].replace(tzinfo=UTC).timestamp())): row
             for row in rows.iter_rows(named=True)}  # fmt: skip
    assert set(found) == set(wanted)
    for key, values in wanted.items():
        assert {name: found[key][name] for name in values} == values, key


def test_a_counter_is_read_across_the_edge_of_a_minute() -> None:
    """Fails where the difference begins at the first value in the minute: the second between two minutes is lost."""
    told = minutes_of(steady(range(165), 0, energy=lambda second: 1_000_003 + 500 * second))
    row = told[f"gpu {gpu_subject(slot(0)['node'], 0)}", 2]
    assert (row["energy_joules"], row["energy_method"]) == (60 * 500.0, 1)


def test_the_energies_of_minutes_join_end_to_end_though_the_counter_comes_every_seven_seconds() -> None:
    told = minutes_of(steady(range(230), 0, energy=lambda s: 1_000_003 + 500 * s if s % 7 == 0 else None))
    gpu = f"gpu {gpu_subject(slot(0)['node'], 0)}"
    last = [max(s for s in range(end) if s % 7 == 0) for end in (40, 100, 160, 220)]
    assert [told[gpu, nth]["energy_joules"] for nth in (1, 2, 3)] == [
        500.0 * (later - earlier) for earlier, later in pairwise(last)
    ]


@pytest.mark.parametrize(
    "counter",
    [
        lambda second: 1_000_003 + 500 * second if second < 130 else 500 * second,  # reset
        lambda second: 1_000_000 + 1_000 * (second // 2),  # its step is too large for what it gained
        lambda second: 1_000_003 + 500 * second if second < 130 else 90_000_000 + 500 * second,  # another device's
        lambda second: 7,  # it stands still
    ],
)
def test_a_counter_that_is_not_fine_gives_way_to_the_integral_of_power(counter: Any) -> None:
    told = minutes_of(steady(range(165), 0, power=5_000, energy=counter))
    row = told[f"gpu {gpu_subject(slot(0)['node'], 0)}", 2]
    assert (row["energy_joules"], row["energy_method"]) == (500.0 * 60, 3)


def test_a_gpu_silent_in_mid_minute_has_the_mean_of_what_it_said_and_bounds_for_the_rest() -> None:
    log = [*steady(range(70), 0), *steady(range(70, 165), 1)]
    log[0] += steady(range(1), 1)[0]
    row = minutes_of(log)[f"gpu {gpu_subject(slot(0)['node'], 0)}", 1]
    assert (row["power_watts"], row["power_low_watts"], row["power_high_watts"]) == (500.0, 250.0, 600.0)
    assert (row["expected"], row["reporting"], row["oldest_age_seconds"]) == (1, 0, 30.5)
    assert (row["energy_joules"], row["energy_method"]) == (500.0 * 30, 3)


def test_a_node_is_the_sum_of_its_gpus_and_an_estimate() -> None:
    log = [one + two for one, two in zip(
        steady(range(165), 0, power=5_000, utilization=4_000), steady(range(165), 1, power=3_000, temperature=71.5),
        strict=True)]  # fmt: skip
    told = minutes_of(log)
    row = told[f"node {slot(0)['node']}", 2]
    assert (row["power_watts"], row["power_basis"], row["energy_joules"]) == (800.0, 3, 48_000.0)
    assert (row["utilization_fraction"], row["temperature_max_celsius"]) == (0.45, 71.5)
    assert (row["expected"], row["reporting"], row["version_readings"]) == (2, 2, 120)
    silent = told[f"node {slot(2)['node']}", 2]
    assert (silent["power_watts"], silent["power_low_watts"], silent["power_high_watts"]) == (None, 0.0, 1400.0)


def test_a_minute_is_told_once_and_waits_for_the_pieces_of_its_last_seconds() -> None:
    """Fails where it is told with its last second, of which the pieces come after; no snapshot may be without it."""
    log = [[*one, *other] for one, other in zip(steady(range(103), 0), steady(range(103), 1), strict=True)]
    partials, end = rolled_up(log, 0, cuts=list(range(103))), (START + 100) * SECOND
    told = [(each.envelope.kind, each.envelope.end_second) for each in partials]
    assert told.index(("piece", end)) > told.index(("closing", end))
    life = Life([nobody(10_000), idle_gpus(10_000), *partials])
    waits = []
    for _ in life.partials:
        life.drain(1)
        waits.append(life.evaluator.sums.told_through == end and life.snapshot() is None)
    assert any(waits) and life.snapshot() is not None
    gpus = pl.concat(life.windows).filter(subject_kind=SubjectKind.GPU, every_seconds=60)
    assert gpus.filter(pl.col("reporting") > 0)["version_readings"].to_list() == [60, 60]


def test_a_late_piece_tells_again_the_gpus_and_nodes_that_it_touched_only() -> None:
    told = rolled_up([*steady(range(108), 0), *[
        [Gpu(99.75, **slot(0), power=7_000)]], *steady(range(108, 165), 0)], 0)  # fmt: skip
    partials = [nobody(10_000), Partial(Envelope(GPU_TOPIC, 1, 0, 0, "idle", 0, (START + 10_000) * SECOND, 0),
                                        PARTIAL.empty()), *told]  # fmt: skip
    life = Life(partials)
    while life.at < len(partials):
        life.drain(1)
    minute = pl.lit(MINUTES[1] * SECOND).cast(pl.Datetime("us"))
    of_minute = [rows.filter((pl.col("window_start") == minute) & (pl.col("every_seconds") == 60)
                             & pl.col("subject_kind").is_in([SubjectKind.GPU, SubjectKind.NODE]))
                 for rows in life.windows]  # fmt: skip
    first, revised = [rows for rows in of_minute if len(rows)]
    assert len(first) == 8 + 4
    assert revised.select("subject_kind", "subject").rows() == [
        (SubjectKind.NODE, slot(0)["node"]), (SubjectKind.GPU, gpu_subject(slot(0)["node"], 0)),
    ]  # fmt: skip
    assert revised["power_watts"].to_list() == [503.333] * 2


def test_a_metered_node_has_the_power_of_its_meter_and_the_rest_of_its_gpus() -> None:
    path = "ruh/h1/r01/k01/n01"
    registry = campus(meters=[{"id": f"{path}/meter", "measures": path, "level": "node"}])
    (meter,) = registry.meters["meter"]
    log = steady(range(165), 0)
    metered = [dict.fromkeys(PARTIAL.polars) | {
        "second": (START + second) * SECOND, "subject_kind": SubjectKind.METER.value, "subject": meter,
        "power_milliwatts": 900_000, "power_max_milliwatts": 950_000, "silent_nameplate_milliwatts": 0,
        "energy_millijoules": 900_000, "energy_method": 3, "utilization_count": 0, "expected": 1, "reporting": 1,
        "oldest_age_microseconds": 0, "readings": 1, "digest": 5,
    } for second in range(165)]  # fmt: skip
    power = Partial(
        Envelope("telemetry.power.v1", 0, 0, 0, "closing", START * SECOND, (START + 160) * SECOND, 0),
        pl.DataFrame(metered, schema=PARTIAL.polars, orient="row"),
    )
    idle = Partial(Envelope(GPU_TOPIC, 1, 0, 0, "idle", 0, (START + 10_000) * SECOND, 0), PARTIAL.empty())
    rows = Life([power, idle, *rolled_up(log, 0)], registry).to_the_end().minutes()
    minute = pl.lit(MINUTES[1] * SECOND).cast(pl.Datetime("us"))
    (row,) = rows.filter((pl.col("window_start") == minute) & (pl.col("subject") == slot(0)["node"])).iter_rows(
        named=True
    )
    assert (row["power_watts"], row["power_max_watts"], row["energy_joules"]) == (900.0, 950.0, 54_000.0)
    assert (row["power_basis"], row["expected"], row["reporting"]) == (1, 1, 1)
    assert (row["utilization_fraction"], row["version_readings"]) == (0.5, 120)


def test_histograms_of_a_minute_hold_every_second_of_the_rack_and_of_its_gpus() -> None:
    log = steady(range(165), 0, power=lambda second: 5_000 + 40 * (second % 60))
    idle = Partial(Envelope(GPU_TOPIC, 1, 0, 0, "idle", 0, (START + 10_000) * SECOND, 0), PARTIAL.empty())
    life = Life([nobody(10_000), idle, *rolled_up(log, 0)]).to_the_end()
    rows = pl.concat(life.histograms).filter(
        pl.col("window_start") == pl.lit(MINUTES[1] * SECOND).cast(pl.Datetime("us"))
    )
    powers = pl.Series("bin", power_bin(pl.Series([5_000 + 40 * nth for nth in range(60)]).to_numpy()), pl.Int16)
    wanted = powers.value_counts().sort("bin").select("bin", pl.col("count").cast(pl.Int32))
    rack = rows.filter((pl.col("subject_kind") == SubjectKind.RACK) & (pl.col("subject") == slot(0)["rack"]))
    for metric in (Metric.POWER_WATTS, Metric.GPU_POWER_WATTS):
        assert rack.filter(metric=metric.value).sort("bin").select("bin", "count").equals(wanted)
    kinds = rows.filter(metric=Metric.POWER_WATTS.value)["subject_kind"].unique().sort().to_list()
    assert kinds == [SubjectKind.SITE, SubjectKind.HALL, SubjectKind.ROW, SubjectKind.RACK]
    assert rack.filter(metric=Metric.GPU_UTILIZATION_FRACTION.value).select("bin", "count").rows() == [(50, 60)]
