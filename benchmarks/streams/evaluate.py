"""What one evaluator costs at campus load: 1,337 racks, 2,674 meters, one reading a second each, default rules.

Replays seconds of a campus through the pure evaluator with the drains of the live app (50 ms) and counts
CPU: decode and admission of readings, evaluation, partials, windows as Arrow, snapshots. No broker.
Prints one JSON line a figure.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from schemas import arrow, partial
from schemas.admission import admit
from schemas.decode import decode
from schemas.facility import load
from schemas.message import Message
from schemas.meter import METER
from schemas.partial import PARTIAL, Envelope, Partial
from schemas.registry import Registry, assign
from schemas.rules import default_rules
from schemas.subject import SubjectKind
from schemas.topics import BY_NAME
from schemas.window import WINDOW
from streams import snapshot
from streams.evaluate import PARTIALS_TOPIC, POWER_TOPIC, Evaluator
from streams.watch import watch

CAMPUS = Path(__file__).parents[2] / "examples" / "halo-150mw.toml"
START = 1_721_116_800_000_000
SECOND = 1_000_000
DRAINS = 20
PARTITIONS = BY_NAME[POWER_TOPIC].partitions
STREAMS = [(topic, n) for topic in ("telemetry.gpu.v1", POWER_TOPIC) for n in range(BY_NAME[topic].partitions)]


class Load:
    """Make the messages of each second: readings of every meter by row, partials of every stream."""

    def __init__(self, registry: Registry) -> None:
        budget = registry.racks.select(subject="rack", usual=pl.col("budget_watts") * 0.45)
        self.meters = registry.meters.join(budget, on="subject", how="left", maintain_order="left").select(
            "meter", "level", pl.col("usual").fill_null(500_000.0), group=pl.col("meter") // 32
        )
        self.racks = registry.racks.select("rack", "gpus")
        self.draw = np.random.default_rng(1)
        self.offsets = dict.fromkeys(range(PARTITIONS), 0)

    def power(self, second: int) -> list[list[Message]]:
        """Return the messages of one second by drain."""
        noise = self.draw.normal(1.0, 0.02, len(self.meters))
        groups = self.meters.with_columns(power_watts=pl.col("usual") * pl.Series(noise)).partition_by("group")
        drains: list[list[Message]] = [[] for _ in range(DRAINS)]
        for nth, group in enumerate(groups):
            partition = nth % PARTITIONS
            at = START + second * SECOND + nth * SECOND // len(groups)
            rows = group.select(
                time=pl.lit(at).cast(pl.Datetime("us")), meter="meter", level="level",
                phase=pl.lit(0, pl.Int8), power_watts="power_watts",
            )  # fmt: skip
            empty = METER.empty().clear(len(rows)).select(pl.exclude(rows.columns))
            value = arrow.encode(
                METER, pl.concat([rows, empty], how="horizontal").select(*METER.polars).cast(METER.polars)
            )
            message = Message(
                POWER_TOPIC, partition, self.offsets[partition], at, b"", value, tuple(arrow.headers(METER))
            )
            self.offsets[partition] += 1
            drains[nth * DRAINS // len(groups)].append(message)
        return drains

    def partials(self, second: int, first_offset: int) -> list[Message]:
        """Return the closings of one second."""
        start = START + second * SECOND
        meters = self._rows(SubjectKind.METER, self.meters["meter"], 1, start)
        gpus = self._rows(SubjectKind.RACK, self.racks["rack"], 46, start)
        messages = []
        for nth, (topic, number) in enumerate(STREAMS):
            of = gpus if topic == "telemetry.gpu.v1" else meters
            rows = of.filter(pl.col("subject") % BY_NAME[topic].partitions == number)
            envelope = Envelope(topic, number, 0, 0, "closing", start, start + SECOND, start + SECOND)
            value, headers = partial.encode(Partial(envelope, rows))
            messages.append(Message(PARTIALS_TOPIC, 0, first_offset + nth, start, b"", value, tuple(headers)))
        return messages

    def _rows(self, kind: SubjectKind, subjects: pl.Series, parts: int, start: int) -> pl.DataFrame:
        count = len(subjects)
        columns = {
            "second": pl.lit(start).cast(pl.Datetime("us")), "subject_kind": pl.lit(int(kind)), "subject": subjects,
            "power_milliwatts": pl.Series(self.draw.integers(40_000_000, 60_000_000, count)),
            "utilization_sum_e4": pl.lit(9_000 * parts), "utilization_count": pl.lit(parts), "expected": pl.lit(parts),
            "reporting": pl.lit(parts), "readings": pl.lit(parts), "oldest_age_microseconds": pl.lit(500_000),
            "digest": pl.Series(self.draw.integers(-(2**62), 2**62, count)),
        }  # fmt: skip
        missing = [pl.lit(None).alias(name) for name in PARTIAL.polars if name not in columns]
        return (
            pl.DataFrame({"subject": subjects}).select(*missing, **columns).select(*PARTIAL.polars).cast(PARTIAL.polars)
        )


class Stopwatch:
    """Add up the CPU seconds of named parts."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def time(self, name: str, work: Callable[[], object]) -> object:
        """Do `work` and count its CPU under `name`."""
        began = time.process_time()
        result = work()
        self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - began
        return result


def measure(seconds: int) -> dict[str, float]:
    registry = assign(load(CAMPUS))
    load_ = Load(registry)
    evaluator, stopwatch = Evaluator(watch(default_rules(), registry), STREAMS), Stopwatch()
    alerts, latencies = 0, []
    for second in range(-5, seconds):
        if second == 0:
            stopwatch.spent.clear()
            alerts = 0
        for messages in load_.power(second):
            began = time.perf_counter()
            decoded = stopwatch.time("decode readings", lambda m=messages: decode(POWER_TOPIC, m, registry).frame)
            rows = stopwatch.time("admit readings", lambda d=decoded: admit(METER, d, registry, clock="event").rows)
            ends = {message.partition: message.offset + 1 for message in messages}
            alerts += len(stopwatch.time("evaluate readings", lambda r=rows, e=ends: evaluator.read(r, e)))
            latencies.append(time.perf_counter() - began)
        for message in load_.partials(second, (second + 5) * len(STREAMS)):
            said = stopwatch.time("decode partials", lambda m=message: partial.decode(m))
            stopwatch.time("take partials", lambda m=message, s=said: evaluator.take(m.offset, s.envelope, s.rows))
        output = stopwatch.time("close the second", evaluator.close)
        alerts += len(output.alerts)
        stopwatch.time("encode windows", lambda o=output: [arrow.encode(WINDOW, each.rows) for each in o.windows])
        if second % 2 == 0:
            value = stopwatch.time("snapshot", lambda: snapshot.take(evaluator, {}).encode())
    figures = {f"evaluate, {name}": spent / seconds for name, spent in stopwatch.spent.items()}
    figures["evaluate, all"] = sum(stopwatch.spent.values()) / seconds
    figures["evaluate, slowest drain of 100"] = float(np.quantile(latencies, 0.99))
    figures["evaluate, snapshot bytes"] = len(value)
    figures["evaluate, transitions a second"] = alerts / seconds
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    for name, value in measure(parser.parse_args().seconds).items():
        unit = "bytes" if "bytes" in name else "1/s" if "transitions" in name else "s" if "slowest" in name else "core"
        line = {"name": name, "value": round(value, 5), "unit": unit}
        if name == "evaluate, all":
            line |= {"bar": 0.1, "pass": value <= 0.1}
        print(json.dumps(line))


if __name__ == "__main__":
    main()
