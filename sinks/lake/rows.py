"""From messages to rows as they lie on disk, one reader a topic; pure, and no message makes it raise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import polars as pl
import pyarrow as pa

from schemas.admission import Clock, admit
from schemas.column import Record
from schemas.decode import decode
from schemas.gpu import GPU
from schemas.histogram import HISTOGRAM
from schemas.message import Message
from schemas.meter import METER
from schemas.registry import Registry
from schemas.rejected import REJECTED
from schemas.rejection import WHOLE, Refusal, refused_frame, with_raw
from schemas.timeline import Timeline, admit_in_force
from schemas.window import WINDOW
from sinks.lake.block_rows import rows_of_blocks
from sinks.lake.documents import read_alerts, read_facilities, read_jobs, read_progress
from sinks.lake.tables import BY_NAME, Table

log = logging.getLogger(__name__)

MINUTE_SECONDS = 60


Rows = dict[str, pa.Table]
"""Rows by the name of their table, each with that table's columns."""


def read_rows(topic: str, messages: Sequence[Message], facility: Timeline | Registry | None, clock: Clock) -> Rows:
    """Return the rows that messages of one topic bring to each table that the topic feeds, in any order.

    Telemetry is admitted by the facility in force at each row's time, as in the streams; a registry stands for one
    that never changes, None for none yet. A table without rows is there with none. What admission refuses of
    telemetry is left out: the streams publish it. What is refused of our own topics is in `rejected`. A message
    that no decoder survives is left out with a log line, and refused where nobody else would say so.
    """
    timeline = Timeline.always(facility) if isinstance(facility, Registry) else facility
    reader = _READERS[topic]
    try:
        return reader(topic, messages, timeline, clock)
    except Exception as error:
        return _apart(topic, messages, timeline, clock, error)
    except BaseException as error:  # polars panics are not Exceptions (traps.md 23)
        if type(error).__name__ != "PanicException":
            raise
        return _apart(topic, messages, timeline, clock, error)


def _apart(
    topic: str, messages: Sequence[Message], timeline: Timeline | None, clock: Clock, error: BaseException
) -> Rows:
    """Halve the messages until the one that cannot be read stands alone."""
    if len(messages) > 1:
        middle = len(messages) // 2
        parts = [read_rows(topic, half, timeline, clock) for half in (messages[:middle], messages[middle:])]
        return {name: pa.concat_tables([part[name] for part in parts]) for name in parts[0]}
    (message,) = messages
    log.warning("%s: skipped, no decoder survives it: %s: %s", message.place, type(error).__name__, error)
    rows = _READERS[topic](topic, [], timeline, clock)
    if "rejected" in rows:
        said = f"cannot be read: {type(error).__name__}"
        refused = with_raw([refused_frame([Refusal(message, WHOLE, "wrong_type", said)])], [message])
        rows["rejected"] = _refusals(topic, refused)
    return rows


def _gpu(topic: str, messages: Sequence[Message], timeline: Timeline | None, clock: Clock) -> Rows:
    return {"gpu": _telemetry(BY_NAME["gpu"], GPU, messages, timeline, clock)}


def _power(topic: str, messages: Sequence[Message], timeline: Timeline | None, clock: Clock) -> Rows:
    return {"power": _telemetry(BY_NAME["power"], METER, messages, timeline, clock)}


def _telemetry(
    table: Table, record: Record, messages: Sequence[Message], timeline: Timeline | None, clock: Clock
) -> pa.Table:
    """Return the rows of readings: by the block where all of one is good, else row by row."""
    plain, others = rows_of_blocks(table, record, messages, timeline, clock)
    if not others:
        return plain
    rows = _admitted(table.topics[0], record, others, timeline, clock)
    if record == GPU:
        limit = pl.col("power_limit_watts").cast(pl.Float64) * 10
        rows = rows.with_columns(power_limit_deciwatts=limit.round(mode="half_to_even"))
    return pa.concat_tables([plain, _on_disk(table.name, rows)])


def _admitted(
    topic: str, record: Record, messages: Sequence[Message], timeline: Timeline | None, clock: Clock
) -> pl.DataFrame:
    if timeline is None:
        rows = admit(record, decode(topic, messages, None).frame, None, clock=clock).rows
    else:
        rows = admit_in_force(record, decode(topic, messages, timeline.places).frame, timeline, clock=clock).rows
    return rows.rename({"_name": "unregistered_path"})


def _windows(topic: str, messages: Sequence[Message], timeline: Timeline | None, clock: Clock) -> Rows:
    rows, refused = _admitted_or_refused(topic, WINDOW, messages)
    is_short = pl.col("every_seconds") < MINUTE_SECONDS
    return {
        "windows_1s": _on_disk("windows_1s", rows.filter(is_short)),
        "windows_1m": _on_disk("windows_1m", rows.filter(~is_short)),
        "rejected": refused,
    }


def _histograms(topic: str, messages: Sequence[Message], timeline: Timeline | None, clock: Clock) -> Rows:
    rows, refused = _admitted_or_refused(topic, HISTOGRAM, messages)
    return {"histograms": _on_disk("histograms", rows), "rejected": refused}


def _rejected(topic: str, messages: Sequence[Message], timeline: Timeline | None, clock: Clock) -> Rows:
    rows, refused = _admitted_or_refused(topic, REJECTED, messages)
    published = _on_disk("rejected", rows.with_columns(_topic=pl.lit(topic)))
    return {"rejected": pa.concat_tables([published, refused])}


def _admitted_or_refused(topic: str, record: Record, messages: Sequence[Message]) -> tuple[pl.DataFrame, pa.Table]:
    """Return the admitted rows of one of our own topics, and what is wrong with the others."""
    decoded = decode(topic, messages, None)
    admitted = admit(record, decoded.frame, None, clock="event")
    refused = with_raw([decoded.refused, admitted.refused], messages)
    return admitted.rows, _refusals(topic, refused)


def _jobs(topic: str, messages: Sequence[Message], timeline: Timeline | None, clock: Clock) -> Rows:
    return {"jobs": read_jobs(messages, timeline and timeline.places)}


def _progress(topic: str, messages: Sequence[Message], timeline: Timeline | None, clock: Clock) -> Rows:
    return {"progress": read_progress(messages)}


def _alerts(topic: str, messages: Sequence[Message], timeline: Timeline | None, clock: Clock) -> Rows:
    rows, refusals = read_alerts(messages)
    return {"alerts": rows, "rejected": _refusals(topic, with_raw([refused_frame(refusals)], messages))}


def _facilities(topic: str, messages: Sequence[Message], timeline: Timeline | None, clock: Clock) -> Rows:
    rows, refusals = read_facilities(messages)
    return {"facility": rows, "rejected": _refusals(topic, with_raw([refused_frame(refusals)], messages))}


def _refusals(topic: str, refused: pl.DataFrame) -> pa.Table:
    """Return refusals that the writer itself makes as rows of the table `rejected`."""
    placed = refused.with_columns(
        _topic=pl.lit(topic), _partition="partition", _offset="offset", _row="row", _appended="appended"
    )
    return _on_disk("rejected", placed)


def _on_disk(name: str, rows: pl.DataFrame) -> pa.Table:
    """Return the rows with exactly the columns and types of the table's files."""
    table = BY_NAME[name]
    return rows.select(table.arrow.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(table.arrow)


_READERS: dict[str, Callable[[str, Sequence[Message], Timeline | None, Clock], Rows]] = {
    "telemetry.gpu.v1": _gpu,
    "telemetry.power.v1": _power,
    "telemetry.jobs.v1": _jobs,
    "telemetry.progress.v1": _progress,
    "telemetry.rejected.v1": _rejected,
    "windows.site.v1": _windows,
    "windows.histogram.v1": _histograms,
    "alerts.v1": _alerts,
    "facility.v1": _facilities,
}
