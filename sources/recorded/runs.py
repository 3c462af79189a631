"""Runs: what the logs below the given paths come to, found by their contents and never by their names."""

from __future__ import annotations

import contextlib
import glob
import mmap
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from schemas.errors import ConfigurationError
from sources.recorded import mllog, ptdaemon
from sources.recorded.log import FileLog, MeterLog, Span, extent

LONGEST_INTERVAL_SECS = 3600.0
"""What a facility allows for a meter's interval."""


class Format(NamedTuple):
    """Describe one format: what gives it away, how it is read, and which log beside it tells of the job."""

    signature: re.Pattern[bytes]
    read: Callable[[Path], FileLog]
    companion: re.Pattern[bytes]
    about: str


FORMATS: dict[str, Format] = {
    "ptdaemon": Format(
        ptdaemon.SIGNATURE, ptdaemon.read, mllog.INTERVAL_SIGNATURE, "SPEC PTDaemon log of a power analyser"
    ),
    "mllog": Format(
        mllog.NODE_SIGNATURE, mllog.read_node, mllog.JOB_SIGNATURE, "MLPerf training power logs, one a node"
    ),
}


@dataclass(frozen=True)
class RecordedMeter:
    """Hold one meter of a run with the spans that count for the run's job."""

    file: Path
    log: MeterLog
    spans: tuple[Span, ...]

    @property
    def first(self) -> int:
        """Return the time of the earliest reading, UTC µs."""
        return extent(self.log.readings).started

    @property
    def interval_seconds(self) -> float | None:
        """Return the median interval between readings, None where there are not two."""
        step = pl.col("time").diff().dt.total_microseconds() / 1e6
        ((median,),) = self.log.readings.filter(phase=0).select(step.filter(step > 0).median()).rows()
        return None if median is None else min(float(median), LONGEST_INTERVAL_SECS)


@dataclass(frozen=True)
class Run:
    """Hold one run: the logs of one format in one folder, and what its companion says of the job.

    `name` is the end of the folder's path; `job` is empty where no companion was found.
    """

    folder: Path
    format: str
    meters: tuple[RecordedMeter, ...]
    companion: Path | None
    job: mllog.JobLog

    @property
    def name(self) -> str:
        """Return the last four parts of the folder's path: as MLPerf lays its results out, enough to know it."""
        return "/".join(self.folder.parts[1:][-4:])

    @property
    def readings(self) -> int:
        """Return the number of instants at which a meter of the run measured (phases not counted)."""
        return sum(meter.log.readings.filter(phase=0).height for meter in self.meters)


@dataclass(frozen=True)
class Found:
    """Hold everything below the given paths: runs by their first reading, and every file read with its remarks."""

    runs: tuple[Run, ...]
    files: tuple[FileLog, ...]
    silent: tuple[tuple[Path, str], ...]
    """Files that give no reading although they are logs, empty or not to be opened, each with the reason."""


def find(paths: Iterable[Path], format_name: str | None = None) -> Found:
    """Read every recorded log below `paths`; `format_name` forces the format of the files named themselves.

    Raises ConfigurationError where a path does not exist or there is no recorded log below any of them.
    """
    paths = [path.resolve() for path in paths]
    logs: dict[tuple[Path, str], list[FileLog]] = {}
    silent = []
    for file, forced in _files(paths, format_name):
        try:
            kind = forced or _format_of(file, format_name)
            log = FORMATS[kind].read(file) if kind else None
            reason = _silence(file, log)
        except OSError as error:
            kind, log, reason = None, None, f"cannot be read: {error.strerror}"
        if log is not None and kind is not None:
            logs.setdefault((file.parent, kind), []).append(log)
        if reason is not None:
            silent.append((file, reason))
    if not logs:
        raise ConfigurationError(_nothing_found(paths, silent))
    runs = [_run(folder, kind, files, paths) for (folder, kind), files in logs.items()]
    files = tuple(log for group in logs.values() for log in group)
    return Found(tuple(sorted((run for run in runs if run.meters), key=_first_time)), files, tuple(silent))


def bytes_match(path: Path, signature: re.Pattern[bytes]) -> bool:
    """Tell whether a file holds the signature anywhere; raise OSError where it cannot be read."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
        return signature.search(contents) is not None


def _files(paths: list[Path], format_name: str | None) -> Iterator[tuple[Path, str | None]]:
    """Yield every file once, with the format forced upon it."""
    seen = set()
    for path in paths:
        if not path.exists():
            raise ConfigurationError(f"replay: {path} does not exist; name folders or files of recorded logs")
        forced = None if path.is_dir() else format_name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file not in seen:
                seen.add(file)
                yield file, forced


def _format_of(file: Path, only: str | None) -> str | None:
    wanted = {only: FORMATS[only]} if only else FORMATS
    return next((name for name, kind in wanted.items() if bytes_match(file, kind.signature)), None)


def _silence(file: Path, log: FileLog | None) -> str | None:
    """Return why a file gives no reading, None where it gives some or is no log."""
    if file.stat().st_size == 0:
        return "the file is empty, no reading"
    if log is None or any(not meter.readings.is_empty() for meter in log.meters):
        return None
    others = ", ".join(f"{count:,} × {key}" for key, count in log.beside.items())
    return f"no reading in it{f' ({others})' if others else ''}"


def _run(folder: Path, kind: str, files: list[FileLog], given: list[Path]) -> Run:
    companion = _companion(folder, FORMATS[kind].companion, given)
    intervals = mllog.read_interval(companion) if companion and kind == "ptdaemon" else ()
    meters = tuple(
        RecordedMeter(log.path, meter, meter.spans or _spans(intervals, meter.readings))
        for log in files
        for meter in log.meters
        if not meter.readings.is_empty()
    )
    job = mllog.read_job(companion) if companion and kind == "mllog" else mllog.JobLog()
    return Run(folder, kind, meters, companion, job)


def _spans(intervals: Iterable[tuple[int | None, int | None]], readings: pl.DataFrame) -> tuple[Span, ...]:
    """Return the intervals during which the meter measured; a bound that is missing is its first or last reading."""
    first, last = extent(readings)
    spans = [Span(first if start is None else start, last if end is None else end) for start, end in intervals]
    return tuple(span for span in spans if span.started <= last and span.ended >= first and span.started < span.ended)


def _companion(folder: Path, signature: re.Pattern[bytes], given: list[Path]) -> Path | None:
    """Return the log that tells of the job, in the folder or up to two above it.

    It is the one named like the folder; or, in the folder and within what was given, the only one.
    """
    for place in (folder, *list(folder.parents)[:2]):
        if named := _matching(place.glob(f"{glob.escape(folder.name)}.*"), signature):
            return named[0]
        if place == folder or any(place.is_relative_to(path) for path in given):
            found = _matching(place.iterdir(), signature)
            if len(found) == 1:
                return found[0]
    return None


def _matching(files: Iterable[Path], signature: re.Pattern[bytes]) -> list[Path]:
    """Return the files that hold the signature, sorted; one that cannot be read is none of them."""
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            if file.is_file() and bytes_match(file, signature):
                found.append(file)
    return sorted(found)


def _first_time(run: Run) -> int:
    return min(meter.first for meter in run.meters)


def _nothing_found(paths: list[Path], silent: list[tuple[Path, str]]) -> str:
    places = ", ".join(str(path) for path in paths)
    known = "; ".join(f"{name} = {kind.about}" for name, kind in FORMATS.items())
    empty = "".join(f"; {path}: {reason}" for path, reason in silent[:3])
    return f"replay: no recorded log at or below {places}{empty}; formats known: {known}; force one with --format"


def left_out(found: Found) -> Counter[str]:
    """Count what was understood and is no reading, by name, over all files."""
    return sum((log.beside for log in found.files), Counter())
