"""States for tests of the app: real records of workers, windows and alerts, as they come from Kafka."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl

from schemas import arrow, canary
from schemas.alert import Alert, alert_id, encode_alert, microseconds
from schemas.health import TOPIC, Health, LakeHealth, PartitionHealth, Totals, encode_health
from schemas.message import Message
from schemas.registry import Registry
from schemas.subject import SubjectKind
from schemas.topics import BY_NAME
from schemas.window import WINDOW
from web.live import ALERTS, WINDOWS
from web.workers import READERS

NOW = datetime(2026, 3, 1, 9, 0, 10, tzinfo=UTC)
STARTED = NOW - timedelta(hours=1)


def partitions(app: str, lag_seconds: float | None = 0.0, behind: int = 0) -> tuple[PartitionHealth, ...]:
    """Return every partition that an app must read."""
    return tuple(
        PartitionHealth(topic, number, 100, 100 + behind, lag_seconds)
        for topic in READERS.get(app, ("telemetry.gpu.v1",))
        for number in range(BY_NAME[topic].partitions)
    )


LAKE = LakeHealth(
    live_bytes={"gpu": 10**12, "power": 10**9},
    growth_bytes_a_day={"gpu": 3e10, "power": 1e8},
    free_bytes=10**13,
    days_left=300,
    oldest_hash_secs=86_400.0,
)
"""A lake that does well."""


def health(app: str, **columns: object) -> Health:
    """Return a record of a worker that does well."""
    said: dict[str, object] = {
        "app": app,
        "slot": 0,
        "host": "node-1",
        "pid": 4711,
        "version": "0.1.0",
        "started": STARTED,
        "time": NOW,
        "every_secs": 5.0,
        "totals": {"telemetry.power.v1": Totals(messages=10, bytes=1000, rows=400, refused={"bad_time": 2})},
        "too_late": 3,
        "loop_delay_seconds": 0.012,
        "resident_bytes": 200_000_000,
        "cpu_seconds": 12.5,
        "open_windows": 4,
        "partitions": partitions(app),
        "lake": LAKE if app == "lake" else None,
    }
    return Health(**(said | columns))  # type: ignore[arg-type]


def heard(record: Health, at: datetime = NOW - timedelta(seconds=2), offset: int = 0) -> Message:
    """Return the message of a record."""
    return Message(TOPIC, 0, offset, microseconds(at), record.key, encode_health(record))


def gone(app: str, at: datetime = NOW) -> Message:
    """Return the message of a worker that ended in order."""
    return Message(TOPIC, 0, 0, microseconds(at), f"{app}-0".encode(), None)


def window(registry: Registry, kind: SubjectKind, path: str, watts: float | None, **columns: object) -> dict:
    """Return one row of a second that ended two seconds before NOW."""
    known = {"power_low_watts": watts, "power_high_watts": None if watts is None else watts + 100}
    row = {
        "window_start": NOW.replace(tzinfo=None) - timedelta(seconds=3),
        "every_seconds": 1,
        "subject_kind": int(kind),
        "subject": registry.id_of(kind, path),
        "power_watts": watts,
        "expected": 2,
        "reporting": 0 if watts is None else 2,
        "oldest_age_seconds": None if watts is None else 0.5,
        "version_admission": 1,
        "version_facility": 1,
        "version_generation": 0,
        "version_readings": 2,
        "version_digest": 0,
    }
    return row | known | columns


def closing(*rows: dict, site: str = "ruh", end: datetime = NOW - timedelta(seconds=2)) -> Message:
    """Return the message of a site's closed second."""
    said = {"site": site, "kind": "closing", "every_seconds": 1, "end_second": microseconds(end)}
    headers = (*arrow.headers(WINDOW), ("closing", msgspec.json.encode(said)))
    body = arrow.encode(WINDOW, pl.DataFrame(list(rows), schema=WINDOW.polars))
    return Message(WINDOWS, 0, 0, microseconds(end), site.encode(), body, headers)


def sung(at: datetime, delay: timedelta = timedelta(milliseconds=40)) -> Message:
    """Return the canary's alert that came out `delay` after its reading at `at`."""
    told = Alert(
        id=alert_id("canary", canary.RACK, microseconds(at)),
        transition="firing",
        rule="canary",
        rule_version="1",
        site=canary.SITE,
        subject_kind="rack",
        subject=canary.RACK,
        severity="info",
        start=at,
        at=at,
        fired=at,
    )
    return Message(ALERTS, 0, 0, microseconds(at + delay), told.key, encode_alert(told))
