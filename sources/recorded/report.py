"""What was found, in sentences: for the person who replays, and for whoever has to mend a log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sources.recorded.log import extent
from sources.recorded.replay import EPOCH, Recording
from sources.recorded.runs import Found, Run, left_out

LINES_PER_FILE = 20
"""Lines named one by one; of what a file has more, the number is said."""


def findings(found: Found, recording: Recording) -> Iterator[str]:
    """Yield what was found by format, then what of it is no reading or cannot count twice."""
    for name in sorted({run.format for run in found.runs}):
        yield _format_line(name, [run for run in found.runs if run.format == name])
    yield f"all: {_counted(recording.readings.height, 'row')} with phases, {_counted(len(recording.jobs), 'job')}"
    for key, count in sorted(left_out(found).items()):
        yield f"left out: {count:,} × {key}: not a reading"
    if unread := sum(len(log.unread) for log in found.files):
        yield f"left out: {_counted(unread, 'line')} that could not be read, named on stderr"
    if recording.repeated:
        yield f"{_counted(recording.repeated, 'row')} share meter and time with another: of them the greater counts"
    if without := [run.name for run in found.runs if not any(meter.spans for meter in run.meters)]:
        yield f"no job record for {', '.join(without)}: no log beside says when its job ran, or not while it measured"


def complaints(found: Found) -> Iterator[str]:
    """Yield every line that could not be read as file:line, and every log without a reading."""
    for log in found.files:
        for unread in log.unread[:LINES_PER_FILE]:
            yield f"{log.path}:{unread.line}: {unread.reason}; left out"
        if more := log.unread[LINES_PER_FILE:]:
            yield f"{log.path}:{more[-1].line}: and {_counted(len(more), 'further line')} up to here; left out"
    yield from (f"{path}: {reason}" for path, reason in found.silent)


def _format_line(name: str, runs: list[Run]) -> str:
    meters = [meter for run in runs for meter in run.meters]
    extents = [extent(meter.log.readings) for meter in meters]
    count = sum(run.readings for run in runs)
    return (
        f"{name}: {_counted(len(runs), 'run')}, {_counted(len(meters), 'meter')}, {_counted(count, 'reading')}, "
        f"{_when(min(each.started for each in extents))} to {_when(max(each.ended for each in extents))}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _when(microseconds: int) -> str:
    return f"{EPOCH + timedelta(microseconds=microseconds):%Y-%m-%d %H:%M:%S} UTC"
