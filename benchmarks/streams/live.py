"""The campus live at 1 Hz through the real workers: what each costs, how late alerts and sums are, how memory moves."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from benchmarks.campus import POWER_TOPIC, SECOND, campus_registry
from benchmarks.processes import cpu_secs, resident_bytes
from benchmarks.streams.echo import ECHO_TOPIC, SENT_TOPIC, TOPICS
from broker.admin import create_topics
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.facility import publish
from broker.supervisor import Supervisor, Worker
from schemas.alert import decode_alert
from schemas.decode import decode
from schemas.facility import load
from schemas.health import TOPIC as HEALTH_TOPIC
from schemas.health import decode_health
from schemas.message import Message
from schemas.registry import Registry
from schemas.subject import SubjectKind
from wattline.parts import Settings, workers
from wattline.scales import facility_file

WARM_UP_SECS = 25.0
INSTANT_RULES = frozenset({"bench-rack", "bench-feed"})
"""Rules that fire at the first reading over the limit, beside the shipped ones."""
PARTS = ("roll-up", "evaluate", "lake")


class Running(NamedTuple):
    """A whole pipeline under load; `pids` by name, the broker's and the load generator's beside ours."""

    bootstrap: str
    pids: dict[str, int]


@contextmanager
def pipeline(*, breaching: int = 200, rows_a_message: int = 46) -> Iterator[Running]:
    """Run broker, load, roll up, evaluate, lake and the bare echo; yield once all is warm."""
    with tempfile.TemporaryDirectory() as name, EmbeddedKafka(Path(name) / "kafka") as kafka:
        asyncio.run(_prepare(kafka.bootstrap))
        settings = Settings(kafka.bootstrap, Path(name) / "lake", rules=rules_file(Path(name)))
        load_argv = ("--live", "--rows", str(rows_a_message), "--breaching", str(breaching))
        beside = [
            Worker("load", (sys.executable, "-m", "benchmarks.load", kafka.bootstrap, *load_argv)),
            Worker("echo", (sys.executable, "-m", "benchmarks.streams.echo", kafka.bootstrap)),
        ]
        with Supervisor([*workers(PARTS, settings), *beside], Path(name) / "logs") as supervisor:
            time.sleep(WARM_UP_SECS)
            pids = {state.name.removesuffix("-0"): state.pid for state in supervisor.states()}
            yield Running(kafka.bootstrap, pids | {"broker": kafka.nodes[0].pid})


def rules_file(folder: Path) -> Path:
    """Write the shipped rules and the instant ones into one file: a file of rules stands for all."""
    shipped = resources.files("schemas").joinpath("default_rules.toml").read_text()
    instant = "".join(
        f"""
[[rules]]
id = "bench-{scope}"
scope = "{scope}"
{limit}
above_fraction_of_limit = 1.0
severity = "warning"
summary = "{{{scope}}} draws {{value}}"
"""
        for scope, limit in (("rack", ""), ("feed", 'limit = "rated"'))
    )
    path = folder / "rules.toml"
    path.write_text(shipped + instant)
    return path


async def _prepare(bootstrap: str) -> None:
    await create_topics(bootstrap)
    await create_topics(bootstrap, topics=TOPICS)
    await publish(bootstrap, load(facility_file("150MW")))


def cores(running: Running, secs: float) -> dict[str, float]:
    """Return the cores that each process takes over the next `secs`."""
    before, began = cpu_secs(running.pids.values()), time.monotonic()
    time.sleep(secs)
    after, took = cpu_secs(running.pids.values()), time.monotonic() - began
    return {name: (end - start) / took for name, start, end in zip(running.pids, before, after, strict=True)}


def memory_bytes(running: Running) -> dict[str, int]:
    """Return the resident memory of each process."""
    return {name: resident_bytes(pid) for name, pid in running.pids.items()}


def alert_latencies(delays: pl.DataFrame) -> np.ndarray:
    """Return the seconds from the append of a reading to that of the alert that it led to (see alert_delays)."""
    return _seconds(delays)


def slowest_seconds(delays: pl.DataFrame, count: int = 5) -> dict[int, float]:
    """Return the seconds of the minute in which alerts were slowest, with the longest latency in each.

    What holds the evaluator up comes at intervals; the seconds tell which.
    """
    second, latency = pl.col("came") // SECOND % 60, (pl.col("told") - pl.col("came")) / SECOND
    slowest = delays.group_by(second=second).agg(latency=latency.max()).sort("latency", descending=True).head(count)
    return {each: round(longest, 3) for each, longest in slowest.iter_rows()}


def loop_delays(bootstrap: str, since: int, app: str) -> list[float]:
    """Return the longest delay of a worker's event loop in each of its health records."""
    said = map(decode_health, asyncio.run(read_to_end(bootstrap, HEALTH_TOPIC, since)))
    return [each.loop_delay_seconds for each in said if each.app == app]


def alert_delays(bootstrap: str, since: int, registry: Registry) -> pl.DataFrame:
    """Return frame (came, told), UTC µs: when a reading was in Kafka, and when the alert of an instant rule first was.

    The reading is the last one of its rack that was made at the alert's moment: a rack is the sum of two meters.
    """
    appended = _appended_by_subject(asyncio.run(read_to_end(bootstrap, POWER_TOPIC, since)), registry)
    alerts = []
    for message in asyncio.run(read_to_end(bootstrap, "alerts.v1", since)):
        alert = decode_alert(message)
        if alert.rule in INSTANT_RULES and alert.transition in {"firing", "resolved"}:
            at = int(alert.at.timestamp() * SECOND + 0.5) if alert.at.tzinfo else _micros(alert.at)
            alerts.append((alert.subject, at, message.appended))
    told = pl.DataFrame(alerts, schema={"path": pl.String, "time": pl.Int64, "told": pl.Int64}, orient="row")
    first = told.group_by("path", "time").agg(pl.col("told").min())
    return first.join(appended, on=["path", "time"]).select("told", came="appended")


def _seconds(delays: pl.DataFrame) -> np.ndarray:
    return ((delays["told"] - delays["came"]) / SECOND).to_numpy()


def _appended_by_subject(messages: list[Message], registry: Registry) -> pl.DataFrame:
    """Return frame (path, time, appended): when all readings of a rack or feed at a moment were in Kafka."""
    rows = decode(POWER_TOPIC, messages, registry).frame.select("meter", "time", "_appended")
    kinds = [(SubjectKind.RACK, registry.paths(SubjectKind.RACK)), (SubjectKind.FEED, registry.paths(SubjectKind.FEED))]
    paths = pl.concat(
        registry.meters.filter(pl.col("subject_kind") == kind)
        .join(known, left_on="subject", right_on="id")
        .select("meter", "path_right")
        for kind, known in kinds
    )
    by = rows.join(paths, on="meter").group_by(path="path_right", time=pl.col("time").cast(pl.Int64))
    return by.agg(appended=pl.col("_appended").cast(pl.Int64).max())


def sum_latencies(bootstrap: str, since: int) -> np.ndarray:
    """Return, for every closed second, the seconds from its end to the append of its windows."""
    return _seconds(window_delays(bootstrap, since))


def window_delays(bootstrap: str, since: int) -> pl.DataFrame:
    """Return frame (came, told), UTC µs: the end of each closed second, and when its windows were first in Kafka."""
    found = []
    for message in asyncio.run(read_to_end(bootstrap, "windows.site.v1", since)):
        closing = msgspec.json.decode(message.header("closing") or b"{}")
        if closing.get("kind") == "closing" and closing["every_seconds"] == 1:
            ends = range(closing["first_second"] + SECOND, closing["end_second"] + SECOND, SECOND)
            found += [(end, message.appended) for end in ends]
    frame = pl.DataFrame(found, schema={"came": pl.Int64, "told": pl.Int64}, orient="row")
    return frame.group_by("came").agg(pl.col("told").min())


def load_latencies(bootstrap: str, since: int) -> np.ndarray:
    """Return, for every message of readings, the seconds from its moment to its append: is the load on time?"""
    found = asyncio.run(read_to_end(bootstrap, POWER_TOPIC, since))
    rows = decode(POWER_TOPIC, found, campus_registry()).frame
    return ((rows["_appended"].cast(pl.Int64) - rows["time"].cast(pl.Int64)) / SECOND).to_numpy()


def echo_latencies(bootstrap: str, since: int) -> np.ndarray:
    """Return the seconds from the append of a message to that of its bare echo."""
    heard = asyncio.run(read_to_end(bootstrap, ECHO_TOPIC))
    sent = {message.offset: message.appended for message in asyncio.run(read_to_end(bootstrap, SENT_TOPIC))}
    pairs = [(sent[int(each.value or b"0")], each.appended) for each in heard]
    return np.array([end - start for start, end in pairs if start >= since]) / SECOND


def _micros(moment: object) -> int:
    return int(pl.Series([moment]).cast(pl.Datetime("us")).cast(pl.Int64)[0])
