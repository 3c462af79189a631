"""Adoption on a lake and its Kafka: find what does not fit, and move positions, while no writer lives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path
from time import monotonic, sleep

import polars as pl
from deltalake import DeltaTable

from broker.admin import require_topics
from schemas.errors import ConfigurationError, UnavailableError
from sinks.lake.assignment import COMPACTED, Broken, find_broken, find_hole
from sinks.lake.continuity import Log
from sinks.lake.flush import Tables
from sinks.lake.ledger import Ledger
from sinks.lake.locks import lake_lock
from sinks.lake.log_reader import LogReader, open_log_reader
from sinks.lake.order import by_hour
from sinks.lake.parquet import write_file
from sinks.lake.positions import Position, Source
from sinks.lake.start import mend, refuse_half_restored
from sinks.lake.tables import BY_NAME, TABLES, TOPICS
from sinks.upkeep.adopt import ADOPTIONS, Adoption, adoption, rows_of

_COUNT = Source(ADOPTIONS.name, 0)
"""Under which the table of adoptions counts its own rows, as others do offsets."""
_RETRY_SECS = 0.1


@contextmanager
def without_writers(lake: Path, within_secs: float = 10.0) -> Iterator[None]:
    """Hold the lock of all writers alone for the block, logs mended as at a writer's start.

    A writer that halts is started again and again by `wattline run`, and holds the lock for a moment each time:
    so the lock is tried for a while. Raises ConfigurationError where there is no lake, UnavailableError with who
    writes to it.
    """
    if not any(DeltaTable.is_deltatable(str(table.folder(lake))) for table in TABLES):
        raise ConfigurationError(f"no lake at {lake}: name another folder with --lake or WATTLINE_LAKE")
    lock = lake_lock(lake)
    try:
        deadline = monotonic() + within_secs
        while not lock.try_alone():
            if monotonic() > deadline:
                who = " and ".join(lock.holders()) or "another process"
                raise UnavailableError(f"{lake} is being written to by {who}: end it first, then ask again")
            sleep(_RETRY_SECS)
        refuse_half_restored(lake)
        mend(lake)
        yield
    finally:
        lock.release()


async def find_adoptions(bootstrap: str, lake: Path) -> list[Adoption]:
    """Return for every table and partition that its log does not go on at how it would; nothing is changed.

    Raises UnavailableError where no broker answers, or a topic is not there at all.
    """
    partitions = await require_topics(bootstrap, list(TOPICS))
    sources = [Source(topic, number) for topic in TOPICS for number in range(partitions[topic])]
    tables, found = Tables(lake), []
    async with open_log_reader(bootstrap) as reader:
        bounds = await reader.bounds(sources)
        for source in sources:
            for broken in await _all_broken(reader, tables, source, bounds[source]):
                found.append(await _adoption(reader, broken))
    return found


def adopt(lake: Path, adoptions: Sequence[Adoption], now: datetime) -> None:
    """Write a row for each adoption, then move the positions, a commit a table.

    Killed in between, it is asked for again and goes on: a row that says the same is not written twice.
    """
    _write_rows(lake, adoptions, now)
    by_table = sorted(adoptions, key=lambda each: each.table)
    for name, group in groupby(by_table, key=lambda each: each.table):
        moves = list(group)
        Ledger(BY_NAME[name], lake).commit(
            [],
            {each.source: each.before for each in moves},
            {each.source: each.after for each in moves},
            marks={app: value for each in moves for app, value in each.marks.items()},
            words={"adopted": [each.said for each in moves]},
        )


async def _all_broken(reader: LogReader, tables: Tables, source: Source, bounds: tuple[int, int]) -> list[Broken]:
    positions = tables.positions(source)
    found = [broken async for broken in find_broken(reader, source, positions, bounds)]
    if source.topic in COMPACTED:
        return found
    sound = set(positions) - {broken.table for broken in found}
    for table in sorted(sound):
        position = positions[table]
        if position is None:
            continue
        where = f"table {table}, {source}"
        if how := await find_hole(reader, where, source, position.next, bounds[1]):
            found.append(Broken(table, source, position, Log(*bounds), how))
    return found


async def _adoption(reader: LogReader, broken: Broken) -> Adoption:
    if broken.how.goes_on is not None:
        return adoption(broken, broken.how.goes_on, None)
    log, source = broken.log, broken.source
    after = await reader.first_after(source, broken.position.appended_milliseconds)
    goes_on = log.end if after is None else after
    last = await reader.record_from(source, goes_on - 1, log.end) if goes_on > log.start else None
    return adoption(broken, goes_on, last if last is not None and last.offset == goes_on - 1 else None)


def _write_rows(lake: Path, adoptions: Sequence[Adoption], now: datetime) -> None:
    ledger = Ledger(ADOPTIONS, lake)
    before = ledger.position(_COUNT)
    first = 0 if before is None else before.next
    rows = rows_of(_not_yet_said(ledger.folder, adoptions, first, now), first, now)
    if not rows.num_rows:
        return
    files = [
        write_file(part, hour, ADOPTIONS, ledger.folder, lambda _: None) for hour, part in by_hour(rows, ADOPTIONS, 1)
    ]
    after = Position(first + rows.num_rows, 0, int(now.timestamp() * 1000))
    ledger.commit(files, {_COUNT: before}, {_COUNT: after})


def _not_yet_said(folder: Path, adoptions: Sequence[Adoption], first: int, now: datetime) -> list[Adoption]:
    uris = DeltaTable(str(folder)).file_uris()
    if not uris:
        return list(adoptions)
    said = [name for name in ADOPTIONS.arrow.names if not name.startswith("_")]
    asked = pl.DataFrame(rows_of(adoptions, first, now)).with_row_index("index")
    new = asked.join(pl.read_parquet(uris, hive_partitioning=False).select(said), on=said, how="anti", nulls_equal=True)
    return [adoptions[index] for index in new["index"]]
