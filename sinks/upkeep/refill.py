"""Rows of damaged files made anew from Kafka, where its log still has them, and put back in one commit.

Wanted are the rows that lie within the bounds of the files that were set aside, came before the table's positions, and
are in no live file. So whatever was told, done half or done twice before, no row is there twice.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from broker.admin import require_topics
from broker.consumer import assigned
from broker.facility import read_timeline
from schemas.admission import Clock
from schemas.errors import ConfigurationError
from schemas.message import Message
from schemas.timeline import Timeline
from sinks.lake.ledger import CommitRefusedError, Ledger, ReplacedError
from sinks.lake.order import LOG_ORDER, in_order
from sinks.lake.parquet import ParquetFile, remove_files, write_file
from sinks.lake.positions import Source
from sinks.lake.rows import read_rows
from sinks.lake.tables import BY_NAME, Table
from sinks.upkeep.aside import damage_of, set_aside
from sinks.upkeep.damage import Damage, note_damage, read_damage
from sinks.upkeep.files import add_actions

CHUNK_BYTES = 67_108_864
FILE_ROWS = 2_000_000
_WAIT_MS = 500


class Kafka(NamedTuple):
    """Say which Kafka a lake is written from, and by which clock its writer admits."""

    bootstrap: str
    clock: Clock = "wall"


def refill(lake: Path, kafka: Kafka, now: datetime) -> list[Damage]:
    """Bring back what Kafka has of every file whose rows are still missing; return what came of each.

    Raises UnavailableError where no broker answers: the rows stay missing and it is tried again. The caller holds
    upkeep alone.
    """
    done = list(_made_before(lake))
    note_damage(lake, done)
    pending: dict[tuple[str, str], list[Damage]] = defaultdict(list)
    for damage in read_damage(lake):
        if damage.lost is None:
            pending[damage.table, damage.hour].append(damage)
    for (name, _), damages in pending.items():
        if _set_neighbours_aside(lake, BY_NAME[name], damages, now):
            continue  # their rows are of the same bounds: all of them together in the next round
        told = asyncio.run(_refill(lake, BY_NAME[name], damages, kafka))
        note_damage(lake, told)
        done += told
    return done


def _made_before(lake: Path) -> Iterator[Damage]:
    """Yield what was refilled by a process that was killed before it could say so."""
    for damage in read_damage(lake):
        if damage.lost is None and damage.attempt is not None:
            app, refilled = damage.attempt
            if Ledger(BY_NAME[damage.table], lake).transaction(app) is not None:
                yield _told(damage, refilled)


def _told(damage: Damage, refilled: int) -> Damage:
    return msgspec.structs.replace(damage, refilled=refilled, lost=damage.rows - refilled)


def _attempts(damages: Sequence[Damage], found: int) -> Iterator[Damage]:
    """Share out the rows that were found among the files that they may have been of."""
    for damage in damages:
        share = min(found, damage.rows)
        found -= share
        yield msgspec.structs.replace(damage, attempt=(f"refill/{damages[0].path}", share))


async def _refill(lake: Path, table: Table, damages: Sequence[Damage], kafka: Kafka) -> list[Damage]:
    """Put back what is missing within the bounds of files of one hour; return what came of each file."""
    ledger = Ledger(table, lake)
    # Of a file that another engine made the log may say too little.
    known = [damage for damage in damages if {"_appended", table.hour_of} <= damage.bounds.keys()]
    files = await _missing_rows(lake, ledger, known, kafka) if known else []
    attempts = list(_attempts(damages, sum(file.rows for file in files)))
    note_damage(lake, attempts)
    if files:
        try:
            words = {"refill": [damage.path for damage in damages]}
            ledger.replace([], files, f"refill/{damages[0].path}", words)
        except (CommitRefusedError, ReplacedError):  # whatever else happens, they may be in the table
            remove_files(files, ledger.folder)
            raise
    return [_told(each, each.attempt[1]) for each in attempts if each.attempt]


async def _missing_rows(lake: Path, ledger: Ledger, damages: Sequence[Damage], kafka: Kafka) -> list[ParquetFile]:
    """Return files, which nobody names yet, of the rows that Kafka has and no live file."""
    places = _known_places(lake, ledger.table, damages)
    timeline = await _timeline(kafka)
    files: list[ParquetFile] = []
    waiting: list[pa.Table] = []
    try:
        for topic in ledger.table.topics:
            async for messages in _messages(kafka, topic, ledger, damages):
                rows = read_rows(topic, messages, timeline, kafka.clock)[ledger.table.name]
                waiting.append(_without(_within(rows, damages), places))
                if sum(part.num_rows for part in waiting) >= FILE_ROWS:
                    files.append(_write(waiting, ledger.table, damages[0].hour, ledger.folder))
                    waiting.clear()
        if any(part.num_rows for part in waiting):
            files.append(_write(waiting, ledger.table, damages[0].hour, ledger.folder))
    except BaseException:
        remove_files(files, ledger.folder)
        raise
    return files


async def _timeline(kafka: Kafka) -> Timeline | None:
    try:
        return await read_timeline(kafka.bootstrap, kafka.clock)
    except ConfigurationError:  # no facility was published: paths keep their text, as with the writer
        return None


async def _messages(
    kafka: Kafka, topic: str, ledger: Ledger, damages: Sequence[Damage]
) -> AsyncIterator[list[Message]]:
    """Yield the messages of a topic that were appended within the bounds and lie before the table's positions.

    What lies behind them is the writer's: it will bring it, and twice would be one too many.
    """
    bounds = [damage.bounds["_appended"] for damage in damages]
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    count = (await require_topics(kafka.bootstrap, [topic]))[topic]
    ends = {number: position.next for number in range(count) if (position := ledger.position(Source(topic, number)))}
    async with assigned(kafka.bootstrap, topic, low) as consumer:
        unread = {part: ends.get(part.partition, 0) for part in consumer.assignment()}
        log_ends = await consumer.end_offsets(list(unread))
        unread = {part: min(end, log_ends[part]) for part, end in unread.items()}
        gathered: list[Message] = []
        while unread := {part: end for part, end in unread.items() if await consumer.position(part) < end}:
            for part, messages in (await consumer.getmany(*unread, timeout_ms=_WAIT_MS)).items():
                gathered += (each for each in messages if each.offset < unread[part] and low <= each.appended <= high)
                if messages and messages[-1].appended > high:
                    unread[part] = 0
            if sum(len(each.value or b"") for each in gathered) >= CHUNK_BYTES:
                yield gathered
                gathered = []
        if gathered:
            yield gathered


def _within(rows: pa.Table, damages: Sequence[Damage]) -> pa.Table:
    """Return the rows that may have been in one of the files: within all of its bounds, and so of its hour."""
    frame = pl.DataFrame(rows.select(list(dict.fromkeys(name for damage in damages for name in damage.bounds))))
    wanted = pl.lit(False)
    for damage in damages:
        inside = [_between(name, bound) for name, bound in damage.bounds.items()]
        wanted |= pl.all_horizontal(*inside)
    return rows.filter(pa.array(frame.select(wanted.alias("wanted"))["wanted"]))


def _between(name: str, bound: tuple[int, int]) -> pl.Expr:
    """Tell whether a column lies within bounds; a null, of which bounds say nothing, may."""
    return pl.col(name).to_physical().is_between(*bound).fill_null(value=True)


def _keys(table: Table) -> list[str]:
    """Return what names a row of a table: where it came from."""
    return [name for name in ("_topic", *LOG_ORDER) if name in table.arrow.names]


def _known_places(lake: Path, table: Table, damages: Sequence[Damage]) -> pl.DataFrame:
    """Return the places of the rows of all live files that could hold one of the rows that are wanted."""
    keys = _keys(table)
    parts = [
        pq.read_table(table.folder(lake) / path, columns=keys, partitioning=None, page_checksum_verification=True)
        for path in _neighbours(lake, table, damages)
    ]
    return pl.DataFrame(pa.concat_tables([table.arrow.empty_table().select(keys), *parts]))


def _neighbours(lake: Path, table: Table, damages: Sequence[Damage]) -> list[str]:
    """Return the live files whose bounds touch those of a damaged one."""
    actions = add_actions(lake, table)
    if not actions.height:
        return []
    touched = pl.lit(False)
    for damage in damages:
        overlaps = [
            (pl.col(f"min.{name}").to_physical() <= high) & (pl.col(f"max.{name}").to_physical() >= low)
            for name, (low, high) in damage.bounds.items()
            if f"min.{name}" in actions.columns
        ]
        touched |= pl.all_horizontal(pl.lit(True), *overlaps).fill_null(value=True)
    found: list[str] = actions.filter(touched)["path"].to_list()
    return found


def _set_neighbours_aside(lake: Path, table: Table, damages: Sequence[Damage], now: datetime) -> bool:
    """Set aside those neighbours that are damaged, too: what they say of places cannot be believed."""
    found = [(path, why) for path in _neighbours(lake, table, damages) if (why := damage_of(lake, table, path))]
    for path, why in found:
        set_aside(lake, table, path, why, now)
    return bool(found)


def _without(rows: pa.Table, known: pl.DataFrame) -> pa.Table:
    """Return the rows whose places are not known, and remember nothing."""
    keys = known.columns
    places = pl.DataFrame(rows.select(keys)).with_row_index("number")
    left = places.join(known.unique(), on=keys, how="anti", nulls_equal=True)["number"].sort()
    return rows.take(pa.array(left))


def _write(parts: Sequence[pa.Table], table: Table, hour: str, folder: Path) -> ParquetFile:
    rows = in_order(pa.concat_tables(parts), (*table.sort, *LOG_ORDER))
    return write_file(rows, hour, table, folder, lambda _: None)
