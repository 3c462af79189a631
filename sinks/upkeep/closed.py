"""Which hours of a table are to be compacted now: pure, from the files of a snapshot and a clock.

An hour is closed when nothing was added to it for QUIET: the writer has gone on appending elsewhere past it, or nobody
has appended at all for IDLE. That is judged by Kafka's append times and not by the hour's own, so that a replay of old
hours is not compacted under the writer's hands, and is compacted when it has passed. An hour that was compacted
and got late rows waits until they are worth it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from sinks.lake.ledger import LiveFile
from sinks.lake.tables import MIXED_HOUR

QUIET = timedelta(minutes=10)
IDLE = timedelta(hours=1)
LATE_FILES = 64
LATE_SHARE = 0.1
LATE_FOR_LONG = timedelta(hours=6)
CHEAP_BYTES = 33_554_432
"""An hour that is no larger is written anew for any late row."""
CROWDED_FILES = 720
"""Twice as many flushes as an hour has: to what is added all the time some of it becomes one."""


def due_hours(files: Iterable[LiveFile], now: datetime) -> list[str]:
    """Return the hours to compact, those first to which nothing was added for longest; `now` is UTC without zone."""
    by_hour: dict[str, list[LiveFile]] = defaultdict(list)
    for file in files:
        by_hour[file.hour].append(file)
    by_hour.pop(MIXED_HOUR, None)
    newest = max((file.appended for of in by_hour.values() for file in of if file.appended), default=now)
    added = {hour: _last_added(of) for hour, of in by_hour.items()}
    due = [
        (last, hour) for hour, last in added.items() if last is not None and _is_due(by_hour[hour], last, newest, now)
    ]
    return [hour for _, hour in sorted(due)]


def is_quiet(last: datetime, newest: datetime, now: datetime) -> bool:
    """Tell whether nothing was added since `last`, while the writer went on to `newest`, or nobody wrote at all."""
    return last + QUIET <= newest or last + IDLE <= now


def _last_added(files: Iterable[LiveFile]) -> datetime | None:
    """Return when the last row was appended that is in no hour file; None where there is no such file."""
    new = [file for file in files if not file.is_of_hour]
    return max((file.appended or datetime.min for file in new), default=None)


def _is_due(files: Iterable[LiveFile], last: datetime, newest: datetime, now: datetime) -> bool:
    late = [file for file in files if not file.is_of_hour]
    done = sum(file.size for file in files if file.is_of_hour)
    if not is_quiet(last, newest, now):
        return len(late) >= CROWDED_FILES
    if done <= CHEAP_BYTES:
        return True
    is_much = sum(file.size for file in late) >= LATE_SHARE * done or len(late) >= LATE_FILES
    return is_much or last + LATE_FOR_LONG <= now
