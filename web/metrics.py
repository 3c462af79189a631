"""What is known as Prometheus metrics; missing is an absent sample and never 0.

METRICS is the one table of names: the collector makes families of it and docs/reference.md is written from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import NamedTuple

import polars as pl
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from web.asking import Asking
from web.live import LiveState
from web.state import State
from web.workers import Worker

OLD_AFTER_SECONDS = 30.0
"""Windows older than this are no picture of now: of them only the age is told."""

SLOT = ("app", "slot")
SUBJECT = ("kind", "subject")


class Described(NamedTuple):
    """Describe one metric: its labels and what it says; a name that ends in `_total` is a counter."""

    labels: tuple[str, ...]
    about: str


METRICS: dict[str, Described] = {
    "wattline_healthy": Described((), "1 where /health finds nothing wrong, else 0"),
    "wattline_worker_info": Described((*SLOT, "host", "pid", "version"), "Always 1; who holds a slot"),
    "wattline_worker_start_time_seconds": Described(SLOT, "Unix time at which the worker started"),
    "wattline_worker_last_heard_seconds": Described(SLOT, "Time since the worker last said how it does"),
    "wattline_consumer_lag_seconds": Described(
        (*SLOT, "topic", "partition"),
        "Age by append time of the oldest message not taken in; 0 at the log's end",
    ),
    "wattline_consumer_lag_messages": Described((*SLOT, "topic", "partition"), "Messages not taken in yet"),
    "wattline_messages_total": Described((*SLOT, "topic"), "Messages taken in"),
    "wattline_received_bytes_total": Described((*SLOT, "topic"), "Bytes of values taken in"),
    "wattline_rows_total": Described((*SLOT, "topic"), "Rows read; what is refused is left out"),
    "wattline_rejected_rows_total": Described((*SLOT, "topic", "reason"), "Rows or messages refused"),
    "wattline_too_late_rows_total": Described(SLOT, "Rows that came too late for any window; the lake has them"),
    "wattline_unregistered_rows_total": Described(SLOT, "Rows of devices in no facility; the lake has them, no sum"),
    "wattline_unregistered_places": Described(SLOT, "Racks and meters that report and are in no facility"),
    "wattline_loop_delay_seconds": Described(SLOT, "Longest delay of the event loop since the last report"),
    "wattline_resident_memory_bytes": Described(SLOT, "Memory that the worker holds"),
    "wattline_cpu_seconds_total": Described(SLOT, "CPU time that the worker has used"),
    "wattline_open_windows": Described(SLOT, "Seconds that began and did not close yet"),
    "wattline_lake_live_bytes": Described((*SLOT, "table"), "Bytes of the live files of a table"),
    "wattline_lake_growth_bytes_per_day": Described((*SLOT, "table"), "Bytes a day appended in the last eight days"),
    "wattline_lake_free_bytes": Described(SLOT, "Bytes free on the disk of the lake"),
    "wattline_lake_days_left": Described(SLOT, "Days until that disk is full; absent where it is not within ten years"),
    "wattline_lake_set_aside_files": Described(SLOT, "Files that were found damaged and left their table"),
    "wattline_lake_missing_rows": Described(SLOT, "Rows of damaged files that are not refilled"),
    "wattline_lake_oldest_hash_seconds": Described(SLOT, "For how long some file was not held against its hash"),
    "wattline_canary_age_seconds": Described((), "Time since the canary's alert last came out; due every 300 s"),
    "wattline_canary_delay_seconds": Described((), "From the canary's reading to its alert in Kafka, the last time"),
    "wattline_unreadable_messages_total": Described((), "Messages that this app could not read"),
    "wattline_closed_age_seconds": Described(("site",), "Time since the end of the newest second that was closed"),
    "wattline_firing_alerts": Described(("severity",), "Alerts that fired and are not resolved"),
    "wattline_power_watts": Described(SUBJECT, "Mean power in the newest second"),
    "wattline_power_low_watts": Described(SUBJECT, "Lower bound of the power: what is silent at 0"),
    "wattline_power_high_watts": Described(SUBJECT, "Upper bound of the power: what is silent at its nameplate"),
    "wattline_limit_watts": Described((*SUBJECT, "limit"), "Limits: budget, nameplate, contract, rated, usable"),
    "wattline_reporting": Described(SUBJECT, "Meters or GPUs that reported in the newest second"),
    "wattline_expected": Described(SUBJECT, "Meters or GPUs that should report"),
    "wattline_data_age_seconds": Described(SUBJECT, "Age of the oldest reading in the newest second"),
    "wattline_sql_running": Described((), "Queries over HTTP that run now"),
    "wattline_sql_queued": Described((), "Queries over HTTP that wait for their turn"),
    "wattline_sql_queries_total": Described(("reason",), "Queries over HTTP by how they ended; answered is well"),
}
"""Every metric by its name."""

_WINDOWS: dict[str, str] = {
    "wattline_power_watts": "power_watts",
    "wattline_power_low_watts": "power_low_watts",
    "wattline_power_high_watts": "power_high_watts",
    "wattline_reporting": "reporting",
    "wattline_expected": "expected",
    "wattline_data_age_seconds": "age_seconds",
}
_STILL_TRUE_WHEN_OLD = ("wattline_expected", "wattline_data_age_seconds")
_SEVERITIES = ("info", "warning", "critical")


class StateCollector(Collector):
    """Collect from a state, with racks only where they are asked for: they are thirty times the rest."""

    def __init__(
        self, state: State, clock: Callable[[], datetime], asking: Asking | None = None, *, racks: bool
    ) -> None:
        self._state = state
        self._asking = asking
        self._clock = clock
        self._racks = racks

    def collect(self) -> Iterator[Metric]:
        """Yield every family that has a sample."""
        now = self._clock()
        families: dict[str, Metric] = {}
        samples = _samples(self._state, now, racks=self._racks)
        for name, labels, value in chain(samples, _of_asking(self._asking)):
            if value is not None:
                family = families.get(name) or families.setdefault(name, _family(name))
                family.add_metric(labels, value)  # type: ignore[attr-defined]
        yield from families.values()


Sample = tuple[str, tuple[str, ...], float | None]
"""Name, values of the labels, and the value: None = not known, so there is no sample."""


def _family(name: str) -> Metric:
    labels, about = METRICS[name]
    return (CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily)(name, about, labels=labels)


def _samples(state: State, now: datetime, *, racks: bool) -> Iterator[Sample]:
    yield "wattline_healthy", (), float(not state.problems(now))
    yield "wattline_canary_age_seconds", (), _seconds(state.canary_age(now))
    yield "wattline_canary_delay_seconds", (), _seconds(state.canary_delay())
    yield "wattline_unreadable_messages_total", (), state.unreadable
    for worker in state.workers.at(now):
        yield from _of_worker(worker, now)
        yield from _of_topics(worker)
        if worker.is_heard(now):
            yield from _of_worker_now(worker)
            yield from _of_partitions(worker)
            yield from _of_lake(worker)
    if state.live is not None:
        yield from _of_alerts(state.live)
        for site, end in sorted(state.live.closed.items()):
            yield "wattline_closed_age_seconds", (site,), (now - end).total_seconds()
        yield from _of_windows(state.live, now, racks=racks)


def _of_asking(asking: Asking | None) -> Iterator[Sample]:
    if asking is not None:
        yield "wattline_sql_running", (), asking.turns.running.total()
        yield "wattline_sql_queued", (), asking.turns.queued
        for reason, count in asking.ended.items():
            yield "wattline_sql_queries_total", (reason,), count


def _of_worker(worker: Worker, now: datetime) -> Iterator[Sample]:
    health = worker.health
    slot = (health.app, str(health.slot))
    yield "wattline_worker_info", (*slot, health.host, str(health.pid), health.version), 1
    yield "wattline_worker_start_time_seconds", slot, health.started.timestamp()
    yield "wattline_worker_last_heard_seconds", slot, max(0.0, (now - worker.heard).total_seconds())
    yield "wattline_too_late_rows_total", slot, health.too_late
    yield "wattline_unregistered_rows_total", slot, health.unregistered_rows
    yield "wattline_cpu_seconds_total", slot, health.cpu_seconds


def _of_worker_now(worker: Worker) -> Iterator[Sample]:
    """Yield what is so only while it runs: a lag of 0 of one that is gone would hide that nothing is read."""
    health = worker.health
    slot = (health.app, str(health.slot))
    yield "wattline_loop_delay_seconds", slot, health.loop_delay_seconds
    yield "wattline_resident_memory_bytes", slot, health.resident_bytes
    yield "wattline_open_windows", slot, health.open_windows
    yield "wattline_unregistered_places", slot, len(health.unregistered)


def _of_lake(worker: Worker) -> Iterator[Sample]:
    lake = worker.health.lake
    if lake is None:
        return
    slot = (worker.health.app, str(worker.health.slot))
    for table, count in lake.live_bytes.items():
        yield "wattline_lake_live_bytes", (*slot, table), count
    for table, rate in lake.growth_bytes_a_day.items():
        yield "wattline_lake_growth_bytes_per_day", (*slot, table), rate
    yield "wattline_lake_free_bytes", slot, lake.free_bytes
    yield "wattline_lake_days_left", slot, lake.days_left
    yield "wattline_lake_set_aside_files", slot, lake.set_aside_files
    yield "wattline_lake_missing_rows", slot, lake.missing_rows
    yield "wattline_lake_oldest_hash_seconds", slot, lake.oldest_hash_secs


def _of_partitions(worker: Worker) -> Iterator[Sample]:
    for each in worker.health.partitions:
        labels = (worker.health.app, str(worker.health.slot), each.topic, str(each.partition))
        yield "wattline_consumer_lag_seconds", labels, each.lag_seconds
        if each.position is not None and each.log_end is not None:
            yield "wattline_consumer_lag_messages", labels, max(0, each.log_end - each.position)


def _of_topics(worker: Worker) -> Iterator[Sample]:
    for topic, totals in sorted(worker.health.totals.items()):
        labels = (worker.health.app, str(worker.health.slot), topic)
        yield "wattline_messages_total", labels, totals.messages
        yield "wattline_received_bytes_total", labels, totals.bytes
        yield "wattline_rows_total", labels, totals.rows
        for reason, count in sorted(totals.refused.items()):
            yield "wattline_rejected_rows_total", (*labels, reason), count


def _of_alerts(live: LiveState) -> Iterator[Sample]:
    firing = [alert.severity for alert in live.open_alerts()]
    for severity in _SEVERITIES:
        yield "wattline_firing_alerts", (severity,), firing.count(severity)


def _of_windows(live: LiveState, now: datetime, *, racks: bool) -> Iterator[Sample]:
    subjects = live.subjects(now)
    subjects = subjects if racks else subjects.filter(pl.col("kind") != "rack")
    is_new = pl.col("age_seconds") <= OLD_AFTER_SECONDS
    of_now = [column for name, column in _WINDOWS.items() if name not in _STILL_TRUE_WHEN_OLD]
    subjects = subjects.with_columns(
        *(pl.when(is_new).then(column).alias(column) for column in of_now),
        age_seconds=pl.when(pl.col("reporting") > 0).then("age_seconds"),
    )
    labels = list(subjects.select("kind", "path").iter_rows())
    for name, column in _WINDOWS.items():
        yield from zip(repeat(name), labels, subjects[column].to_list())
    for kind, path, limit, watts in live.limits.iter_rows():
        if racks or kind != "rack":
            yield "wattline_limit_watts", (kind, path, limit), watts


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else max(0.0, span.total_seconds())
