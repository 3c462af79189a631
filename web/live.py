"""What is true now: the newest window of every subject and the state of every alert, from messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple

import msgspec
import polars as pl

from broker.consumer import follow_together, read_to_end
from broker.facility import TOPIC as FACILITY
from broker.topic_ids import refuse_another
from schemas import arrow
from schemas.alert import Alert, decode_alert, moment
from schemas.errors import RejectedRecordError
from schemas.message import Message
from schemas.registry import Registry
from schemas.subject import SubjectKind
from schemas.window import WINDOW

WINDOWS, ALERTS = "windows.site.v1", "alerts.v1"
SECOND = 1_000_000
KINDS = (
    SubjectKind.SITE,
    SubjectKind.HALL,
    SubjectKind.ROW,
    SubjectKind.UPS_GROUP,
    SubjectKind.PANEL,
    SubjectKind.FEED,
    SubjectKind.RACK,
)
"""The kinds that are shown, from the whole to the parts."""

SUBJECTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "kind": pl.String,
    "path": pl.String,
    "power_watts": pl.Float64,
    "power_low_watts": pl.Float64,
    "power_high_watts": pl.Float64,
    "limit": pl.String,
    "limit_watts": pl.Float64,
    "fraction_of_limit": pl.Float64,
    "reporting": pl.Int32,
    "expected": pl.Int32,
    "window_start": pl.Datetime("us"),
    "age_seconds": pl.Float64,
}

MOST_ENDED = 1_000
"""Alerts that are over and are remembered; of more the newest."""

TOGETHER_SECS = 0.1
"""How long what comes of a topic waits for more of it: a message alone costs as much as twenty."""

_VERSION = ("version_admission", "version_facility", "version_generation", "version_readings", "version_digest")
_SUBJECT = ("subject_kind", "subject")
_OPEN = ("pending", "firing", "stale", "keeping", "continued")


class Heard(NamedTuple):
    """Hold an alert with the time at which Kafka took it."""

    alert: Alert
    appended: datetime


class LiveState:
    """Hold the newest second of every subject and the last transition of every alert that is open or was lately.

    Pure: fed by `take`, asked with a time; what it cannot read it counts in `unreadable` and passes over. Of the
    canary (schemas.canary) it keeps the newest firing with its append time in `canary`, and shows nothing.
    `closed` is, by site, the end of the newest second that was closed, with data or without.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.unreadable = 0
        self.canary: Heard | None = None
        self.closed: dict[str, datetime] = {}
        self._windows = WINDOW.empty()
        self._spoke: dict[str, int] = {}
        """By site, the end of the newest second of which all subjects are known, UTC µs."""
        self._alerts: dict[str, Alert] = {}
        self._forget_at = 2 * MOST_ENDED

    def take(self, messages: Iterable[Message]) -> None:
        """Take in messages of `windows.site.v1` and `alerts.v1`, each topic in the order of its log."""
        windows = []
        for message in messages:
            if message.topic == ALERTS:
                self._take_alert(message)
            elif message.topic == WINDOWS and self._note_closing(message):
                windows.append(message)
        if windows:
            self._take_windows(windows)
        if len(self._alerts) > self._forget_at:
            self._forget()

    def move_to(self, registry: Registry) -> None:
        """Show the subjects of another version of the facility from now on."""
        self.registry = registry
        for made_of_it in ("_places", "limits"):
            self.__dict__.pop(made_of_it, None)

    @property
    def newest(self) -> datetime | None:
        """Return the end of the newest second that is known, UTC without zone; None where there is none."""
        start = self._windows["window_start"].max()
        return start + timedelta(seconds=1) if isinstance(start, datetime) else None

    def subjects(self, now: datetime) -> pl.DataFrame:
        """Return every site, hall, row, UPS group, panel, feed and rack, nearest to its limit first within its kind.

        **Frame** out: SUBJECTS. `power_watts` null = nothing reported or never heard of; `limit_watts` null =
        nothing agreed; the limit is the least that the subject has. `age_seconds` is `now` less the time of the
        oldest reading used. `now` carries a zone.
        """
        frame = self._places.join(self._windows, on=_SUBJECT, how="left", maintain_order="left")
        ended = pl.col("window_start") + pl.duration(seconds=1)
        age = (pl.lit(now.astimezone(UTC).replace(tzinfo=None)) - ended).dt.total_microseconds() / 1e6
        frame = frame.with_columns(
            fraction_of_limit=pl.col("power_watts") / pl.col("limit_watts"),
            age_seconds=age + pl.col("oldest_age_seconds").fill_null(0.0),
        )
        by = ("_order", "fraction_of_limit")
        nearest = frame.sort(by, descending=[False, True], nulls_last=True, maintain_order=True)
        return nearest.select(*SUBJECTS)

    @cached_property
    def limits(self) -> pl.DataFrame:
        """Return frame (kind, path, limit, watts): every limit of the subjects that are shown, in their order."""
        every = self.registry.limits.select("limit", "watts", subject_kind="kind", subject="id")
        named = self._places.select("kind", "path", *_SUBJECT).join(every, on=_SUBJECT, maintain_order="left")
        return named.select("kind", "path", "limit", "watts")

    def alerts(self) -> list[Alert]:
        """Return the last transition of every alert that is open, and of the newest that are over, the newest first."""
        return sorted(self._alerts.values(), key=lambda alert: (alert.at, alert.id), reverse=True)

    def open_alerts(self) -> list[Alert]:
        """Return the alerts that people were told of and that are not over, the newest first."""
        return [alert for alert in self.alerts() if alert.transition in _OPEN and alert.fired is not None]

    def _take_alert(self, message: Message) -> None:
        try:
            alert = decode_alert(message)
        except RejectedRecordError:
            self.unreadable += 1
            return
        if alert.is_canary:
            self._take_canary(alert, message.appended)
            return
        known = self._alerts.get(alert.id)
        if known is None or alert.is_after(known):
            self._alerts[alert.id] = alert

    def _forget(self) -> None:
        """Let go of the oldest alerts that are over: an app runs for months."""
        known = self.alerts()
        ended = [alert for alert in known if alert.transition not in _OPEN]
        for alert in ended[MOST_ENDED:]:
            del self._alerts[alert.id]
        self._forget_at = len(self._alerts) + MOST_ENDED

    def _take_canary(self, alert: Alert, appended: int) -> None:
        is_newer = self.canary is None or alert.at > self.canary.alert.at
        if alert.transition == "firing" and is_newer:
            self.canary = Heard(alert, moment(appended))

    def _note_closing(self, message: Message) -> bool:
        """Tell whether a message may hold what is shown: nobody decodes minutes, jobs, and what is of seconds past.

        An evaluator that hears late readings revises seconds by the hundred; the newest second stands for each subject.
        """
        try:
            closing = msgspec.json.decode(message.header("closing") or b"{}", type=_Closing)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return True
        if closing.every_seconds == 1 and closing.site:
            end = moment(closing.end_second)
            self.closed[closing.site] = max(end, self.closed.get(closing.site, end))
        if closing.every_seconds != 1 or closing.is_of_nothing_shown:
            return False
        if closing.is_of_one_whole_second:
            self._spoke[closing.site] = max(closing.end_second, self._spoke.get(closing.site, 0))
        return closing.end_second >= self._spoke.get(closing.site, 0) or not closing.site

    def _take_windows(self, messages: list[Message]) -> None:
        decoded = arrow.decode(WINDOW, messages)
        self.unreadable += len(decoded.refused)
        is_shown = (pl.col("every_seconds") == 1) & pl.col("subject_kind").is_in([int(kind) for kind in KINDS])
        seconds = decoded.frame.filter(is_shown).select(*WINDOW.polars)
        both = pl.concat([self._windows, seconds]).sort(*_SUBJECT, "window_start", *_VERSION)
        self._windows = both.unique(_SUBJECT, keep="last", maintain_order=True)

    @cached_property
    def _places(self) -> pl.DataFrame:
        order = {int(kind): place for place, kind in enumerate(KINDS)}
        columns = ("kind", "id", "path")
        together = pl.concat([self.registry.structure.select(columns), self.registry.power.select(columns)])
        least = self.registry.limits.sort("watts").unique(["kind", "id"], keep="first")
        placed = together.filter(pl.col("kind").is_in(list(order))).join(least, on=["kind", "id"], how="left")
        return placed.select(
            pl.col("kind").replace_strict({int(kind): kind.name.lower() for kind in KINDS}, return_dtype=pl.String),
            "path",
            "limit",
            subject_kind="kind",
            subject="id",
            limit_watts="watts",
            _order=pl.col("kind").replace_strict(order, return_dtype=pl.Int8),
        ).sort("_order", "path")


class _Closing(msgspec.Struct):
    """Read what is needed of the header `closing`; `subject_kinds` None = the header does not say."""

    site: str = ""
    kind: str = ""
    every_seconds: int = 1
    first_second: int = 0
    end_second: int = 0
    subject_kinds: list[int] | None = None

    @property
    def is_of_nothing_shown(self) -> bool:
        return self.subject_kinds is not None and not set(KINDS).intersection(self.subject_kinds)

    @property
    def is_of_one_whole_second(self) -> bool:
        is_whole = self.kind == "closing" and SubjectKind.SITE in (self.subject_kinds or ())
        return is_whole and self.end_second - self.first_second == SECOND


async def state_now(bootstrap: str, registry: Registry, now: datetime) -> LiveState:
    """Return the state from what is in Kafka: windows of the last hour at most, alerts of the last 30 days.

    Raises UnavailableError where Kafka or a topic is away.
    """
    state = LiveState(registry)
    state.take(await read_to_end(bootstrap, ALERTS, _microseconds(now - timedelta(days=30))))
    for back in (timedelta(seconds=15), timedelta(hours=1)):
        state.take(await read_to_end(bootstrap, WINDOWS, _microseconds(now - back)))
        if state.newest is not None:
            break
    return state


@contextlib.asynccontextmanager
async def kept_up(state: LiveState, bootstrap: str, now: datetime) -> AsyncIterator[None]:
    """Keep `state` up to date within the block: what came since `now` is taken as it comes.

    A broker that is away is waited for; what cannot be waited for ends the block with its error.
    """
    since = _microseconds(now)
    async with asyncio.TaskGroup() as group:
        feeds = [
            *(group.create_task(_feed(state, bootstrap, topic, since)) for topic in (WINDOWS, ALERTS)),
            group.create_task(refuse_another(bootstrap, (WINDOWS, ALERTS, FACILITY))),
        ]
        try:
            yield
        finally:
            for feed in feeds:
                feed.cancel()


async def _feed(state: LiveState, bootstrap: str, topic: str, since: int) -> None:
    async for messages in follow_together(bootstrap, topic, since):
        state.take(messages)
        await asyncio.sleep(TOGETHER_SECS)


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
