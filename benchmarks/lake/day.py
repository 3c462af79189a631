"""A campus day in a lake: `python -m benchmarks.lake.day --folder LAKE --density 0.05` makes one to try queries on.

The log names every file that such a day has, with true bounds; on disk are those that the queries of the bench may
open: of `gpu` one range of racks in every hour, all others are empty files that no reader should ask for. Less density
means fewer readings a GPU, and minutes of fewer GPUs; racks, files and everything else stay as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.campus import POWER_TOPIC, SECOND, Campus, campus_registry
from benchmarks.lake.day_windows import subjects_of, windows
from benchmarks.lake.hours import HOUR_SECONDS, CampusHours
from schemas.job import Job, encode
from schemas.message import Message
from schemas.registry import Registry
from schemas.subject import SubjectKind
from sinks.lake.durable import make_folder
from sinks.lake.flush import Tables
from sinks.lake.ledger import Ledger
from sinks.lake.order import hour_text
from sinks.lake.parquet import ROW_GROUP_ROWS, ParquetFile, hour_settings, statistics
from sinks.lake.positions import Position, Source
from sinks.lake.process import keep_memory
from sinks.lake.rows import read_rows
from sinks.lake.tables import BY_NAME, Table
from sinks.sql.dimensions import frames

DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = 24
FIRST_HOUR = int(DAY.timestamp()) // HOUR_SECONDS
RANGES = 8
"""Files that an hour of `gpu` is cut into by rack; so many for each campus."""
ASKED_RANGE = 3
JOBS = 240
_BYTES_A_ROW = 7


class Day:
    """Write one day of a campus of `times` the size, hour by hour, into an empty lake."""

    def __init__(
        self, lake: Path, *, density: float = 1.0, times: int = 1, hours: int = HOURS, everything: bool = False
    ) -> None:
        self.lake, self.density, self.everything = lake, density, everything
        self.registry = campus_registry(times)
        self.hours = range(FIRST_HOUR + HOURS - hours, FIRST_HOUR + HOURS)
        self.every = max(1, round(1 / density))
        self.campus = CampusHours(self.registry, every=self.every, jitter=10)
        self.ranges = _cut(self.campus.racks, RANGES * times)
        self.jobs = [(job, offset) for offset, job in enumerate(_jobs(self.registry))]
        self._made: dict[int, dict[int, ParquetFile]] = {}
        self._subjects = frames(self.registry)["subjects"]

    def write(self, *, whole_hour: bool = True) -> None:
        """Write every table; `whole_hour` puts all of the last hour of `gpu` on disk."""
        self._write_documents()
        for name in ("gpu", "windows_1m", "windows_1s", "power"):
            ledger, start = Ledger(BY_NAME[name], self.lake), None
            for hour in self.hours:
                is_last = hour == self.hours[-1]
                files = getattr(self, f"_{name}")(ledger.folder, hour, is_last, whole_hour)
                source = Source(BY_NAME[name].topics[0], 0)
                end = Position((hour - FIRST_HOUR + 1) * HOUR_SECONDS, 1, (hour + 1) * HOUR_SECONDS * 1_000)
                ledger.commit(files, {source: start}, {source: end})
                start = end
            ledger.checkpoint()

    def _write_documents(self) -> None:
        appended = FIRST_HOUR * HOUR_SECONDS * SECOND
        sites = [
            Message("facility.v1", 0, offset, appended, site.encode(), value)
            for offset, (site, value) in enumerate(self.registry.to_json().items())
        ]
        jobs = [
            Message("telemetry.jobs.v1", 0, offset, appended, job.job.encode(), encode(job))
            for job, offset in self.jobs
        ]
        tables = Tables(self.lake, "event")
        tables.flush({Source("facility.v1", 0): sites, Source("telemetry.jobs.v1", 0): jobs}, self.registry)

    def _gpu(self, folder: Path, hour: int, is_last: bool, whole_hour: bool) -> list[ParquetFile]:
        files = []
        for number, racks in enumerate(self.ranges):
            is_on_disk = number == ASKED_RANGE or (is_last and whole_hour) or self.everything
            files.append(self._range(folder, number)[hour] if is_on_disk else self._named(folder, hour, racks))
        return files

    def _range(self, folder: Path, number: int) -> dict[int, ParquetFile]:
        """Return the files of a range of racks by hour; all that will be asked for are made at once."""
        if number not in self._made:
            hours = self.hours if number == ASKED_RANGE or self.everything else self.hours[-1:]
            self._made[number] = write_hours(self.campus.rows(hours, self.ranges[number]), BY_NAME["gpu"], folder)
        return self._made[number]

    def _named(self, folder: Path, hour: int, racks: list[int]) -> ParquetFile:
        return named_only(self._bounds(hour, racks), hour, folder)

    def _bounds(self, hour: int, racks: list[int]) -> dict[str, object]:
        """Return the statistics that an hour-file of these racks has."""
        slots = self.registry.slots.filter(pl.col("rack").is_in(racks))
        lowest = {name: slots[name].min() for name in ("rack", "node", "gpu")}
        highest = {name: slots[name].max() for name in ("rack", "node", "gpu")}
        rows = sum(self.campus.rows_of_rack[rack] for rack in racks)
        return _statistics(hour, lowest, highest, rows)

    def _windows_1m(self, folder: Path, hour: int, is_last: bool, whole_hour: bool) -> list[ParquetFile]:
        table = BY_NAME["windows_1m"]
        subjects = subjects_of(self._subjects, fine_share=self.density, with_fine=True)
        return [write_hour(windows(table, subjects, self.jobs, hour, 60), hour, table, folder)]

    def _windows_1s(self, folder: Path, hour: int, is_last: bool, whole_hour: bool) -> list[ParquetFile]:
        table = BY_NAME["windows_1s"]
        subjects = subjects_of(self._subjects, fine_share=self.density, with_fine=False)
        if is_last or self.everything:
            return [write_hour(windows(table, subjects, self.jobs, hour, 1), hour, table, folder)]
        lowest = {"subject_kind": int(SubjectKind.SITE), "subject": 1}
        highest = {"subject_kind": int(SubjectKind.JOB), "subject": 2**31 - 1}
        return [named_only(_statistics(hour, lowest, highest, len(subjects) * HOUR_SECONDS), hour, folder)]

    def _power(self, folder: Path, hour: int, is_last: bool, whole_hour: bool) -> list[ParquetFile]:
        table, meters = BY_NAME["power"], self.registry.meters
        if is_last or self.everything:
            return [write_hour(self._power_rows(hour), hour, table, folder)]
        lowest, highest = {"meter": meters["meter"].min(), "phase": 0}, {"meter": meters["meter"].max(), "phase": 0}
        return [named_only(_statistics(hour, lowest, highest, len(meters) * HOUR_SECONDS), hour, folder)]

    def _power_rows(self, hour: int) -> pa.Table:
        campus, began = Campus(self.registry), hour * HOUR_SECONDS
        messages = [
            Message(each.topic, 0, number, each.at + 20_000, each.key, each.value, tuple(each.headers))
            for second in range(began, began + HOUR_SECONDS, self.every)
            for number, each in enumerate(campus.power_messages(second), (second - began) * 1_000)
        ]
        rows = read_rows(POWER_TOPIC, messages, self.registry, "event")["power"]
        return rows.sort_by([(name, "ascending") for name in ("meter", "phase", "time")])


def write_hour(rows: pa.Table, hour: int, table: Table, folder: Path) -> ParquetFile:
    """Write sorted rows as one file of a settled hour."""
    return write_hours([(hour, rows)], table, folder)[hour]


def write_hours(parts: Iterable[tuple[int, pa.Table]], table: Table, folder: Path) -> dict[int, ParquetFile]:
    """Write sorted rows as one file for each hour among them."""
    writers: dict[int, pq.ParquetWriter] = {}
    told: dict[int, list[dict]] = defaultdict(list)
    for hour, rows in parts:
        if hour not in writers:
            writers[hour] = pq.ParquetWriter(_partial(folder, hour), table.arrow, **hour_settings(table))
        writers[hour].write_table(rows, row_group_size=ROW_GROUP_ROWS)
        told[hour].append(json.loads(statistics(rows, table)))
    for writer in writers.values():
        writer.close()
    return {hour: _given_name(hour, folder, _together(told[hour])) for hour in writers}


def _partial(folder: Path, hour: int) -> Path:
    return folder / f"{hour}.part"


def named_only(told: dict, hour: int, folder: Path) -> ParquetFile:
    """Make an empty file that stands for one which no query of the bench may open."""
    _partial(folder, hour).touch()
    return _given_name(hour, folder, told, size=told["numRecords"] * _BYTES_A_ROW)


def _given_name(hour: int, folder: Path, told: dict, size: int | None = None) -> ParquetFile:
    partial, name = _partial(folder, hour), f"hour={hour_text(hour)}"
    with partial.open("rb") as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    make_folder(folder / name)
    path = f"{name}/hour-{sha256}-{secrets.token_hex(4)}.parquet"
    partial.rename(folder / path)
    size = (folder / path).stat().st_size if size is None else size
    return ParquetFile(path, hour_text(hour), size, told["numRecords"], sha256, json.dumps(told))


def _together(told: list[dict]) -> dict:
    """Return the statistics of parts as those of the whole."""
    lowest = {name: min(each["minValues"][name] for each in told) for name in told[0]["minValues"]}
    highest = {name: max(each["maxValues"][name] for each in told) for name in told[0]["maxValues"]}
    nulls = {name: sum(each["nullCount"][name] for each in told) for name in told[0]["nullCount"]}
    rows = sum(each["numRecords"] for each in told)
    return {"numRecords": rows, "minValues": lowest, "maxValues": highest, "nullCount": nulls}


def _statistics(hour: int, lowest: dict, highest: dict, rows: int) -> dict:
    began = datetime.fromtimestamp(hour * HOUR_SECONDS, UTC).replace(tzinfo=None)
    until = began + timedelta(seconds=HOUR_SECONDS - 1e-3)
    time_of = "window_start" if "subject_kind" in lowest else "time"
    texts = [moment.isoformat(timespec="microseconds") for moment in (began, until, until + timedelta(seconds=2))]
    names = (time_of, "_appended", *lowest)
    return {
        "numRecords": rows,
        "minValues": {time_of: texts[0], "_appended": texts[0], **lowest},
        "maxValues": {time_of: texts[1], "_appended": texts[2], **highest},
        "nullCount": dict.fromkeys(names, 0),
    }


def _cut(racks: list[int], ranges: int) -> list[list[int]]:
    edges = [len(racks) * number // ranges for number in range(ranges + 1)]
    return [racks[low:high] for low, high in pairwise(edges)]


def _jobs(registry: Registry) -> Iterable[Job]:
    """Yield jobs that begin all through the day and take from one to twelve hours."""
    sites = registry.sites["path"].to_list()
    for number in range(JOBS):
        started = DAY + timedelta(minutes=number * 6 % 1_380)
        ended = started + timedelta(hours=1 + number * 7 % 12)
        site = sites[number % len(sites)]
        yield Job(job=f"train-{number}", site=site, workload="training", state="done", started=started, ended=ended)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--density", type=float, default=0.05, help="1 is a reading a second of every GPU")
    parser.add_argument("--times", type=int, default=1, help="so many campuses side by side")
    parser.add_argument("--hours", type=int, default=HOURS, help="only the last hours of the day")
    parser.add_argument("--without-whole-hour", action="store_true", help="of the last hour, too, one range of racks")
    parser.add_argument("--everything", action="store_true", help="put every file on disk; for a small density")
    asked = parser.parse_args()
    keep_memory()
    asked.folder.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    day = Day(asked.folder, density=asked.density, times=asked.times, hours=asked.hours, everything=asked.everything)
    day.write(whole_hour=not asked.without_whole_hour)
    print(f"{asked.folder}: {day.hours[0]} to {day.hours[-1]}, {time.process_time() - began:.0f} s of CPU")


if __name__ == "__main__":
    main()
