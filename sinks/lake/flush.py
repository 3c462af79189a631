"""The flush: messages of many partitions become rows of many tables, durable and committed.

Each table moves its own positions in the commit that adds its rows. A table that is behind another on
the same topic (the process was killed between their commits) takes from the same messages only what is
new to it.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from schemas.admission import Clock
from schemas.errors import UnavailableError
from schemas.message import Message
from schemas.refused_batch import first_offset
from schemas.registry import Registry
from schemas.timeline import Timeline
from schemas.topics import BY_NAME as TOPIC_BY_NAME
from sinks.lake.ledger import CommitRefusedError, Ledger, PositionMovedError
from sinks.lake.order import by_hour
from sinks.lake.parquet import ParquetFile, Step, remove_files, write_file
from sinks.lake.positions import Position, Source, position_after
from sinks.lake.rows import read_rows
from sinks.lake.tables import BY_NAME, TABLES, Table

log = logging.getLogger(__name__)

MAX_FILES = 96
"""How many hours of one table a flush writes files of their own for; the rest share one."""

_DISK = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file is too large"}

Pending = Mapping[Source, Sequence[Message]]


class Flushed(NamedTuple):
    """Count what one flush wrote: rows and bytes of files."""

    rows: int
    files: int
    size: int


class Tables:
    """Hold the ledgers of one lake's tables and write messages into them. Not for two threads at once.

    `rows` counts those written since the start, by topic.
    """

    def __init__(self, lake: Path, clock: Clock = "wall", step: Step = lambda _: None) -> None:
        self.lake = lake
        self._clock = clock
        self._step = step
        self.rows: Counter[str] = Counter()
        self._ledgers = {table.name: Ledger(table, lake, step) for table in TABLES}

    def reopen(self) -> None:
        """Take the newest snapshot of every table."""
        for ledger in self._ledgers.values():
            ledger.reopen()

    def positions(self, source: Source) -> dict[str, Position | None]:
        """Return where each table that is fed by the source's topic goes on in it, by table."""
        return {
            table.name: self._ledgers[table.name].position(source) for table in TABLES if source.topic in table.topics
        }

    def flush(self, pending: Pending, facility: Timeline | Registry | None) -> Flushed:
        """Write the rows of `pending` (per source in the order of the log) and move the positions behind them.

        Raises PositionMovedError where another writer has taken a partition, UnavailableError where the
        disk does not take it. Tables committed before that stay so; the others follow from their positions.
        """
        rows = self._rows_by_table(pending, facility)
        self._step("decoded")
        try:
            flushed = [
                self._flush_table(BY_NAME[name], pa.concat_tables(parts), pending) for name, parts in rows.items()
            ]
        except OSError as error:
            if error.errno is None:  # pyarrow's word for what is no fault of the disk
                raise
            raise _unavailable(self.lake, error) from error
        return Flushed(*(sum(counts) for counts in zip(*flushed, strict=True))) if flushed else Flushed(0, 0, 0)

    def _rows_by_table(self, pending: Pending, facility: Timeline | Registry | None) -> dict[str, list[pa.Table]]:
        topics: dict[str, list[Message]] = defaultdict(list)
        for source, messages in pending.items():
            topics[source.topic].extend(messages)
        rows: dict[str, list[pa.Table]] = defaultdict(list)
        for topic, messages in topics.items():
            for name, part in read_rows(topic, messages, facility, self._clock).items():
                rows[name].append(self._new_rows(self._ledgers[name], topic, part, pending))
        return rows

    def _new_rows(self, ledger: Ledger, topic: str, rows: pa.Table, pending: Pending) -> pa.Table:
        """Return the rows that the table does not have yet: those at or after its position."""
        for source, messages in pending.items():
            position = ledger.position(source) if source.topic == topic and messages else None
            if position is not None and messages[0].offset < position.next:
                is_here = pc.equal(rows.column("_partition"), source.partition)
                is_old = pc.less(rows.column("_offset"), position.next)
                rows = rows.filter(pc.invert(pc.and_(is_here, is_old)))
        return rows

    def _flush_table(self, table: Table, rows: pa.Table, pending: Pending) -> Flushed:
        ledger = self._ledgers[table.name]
        start, end = _moves(ledger, table, pending)
        if not end:
            return Flushed(0, 0, 0)
        files = self._write_files(table, rows, ledger.folder)
        try:
            ledger.commit(files, start, end)
        except CommitRefusedError:
            remove_files(files, ledger.folder)
            raise
        self.rows[table.topics[0]] += rows.num_rows
        if ledger.is_checkpoint_due:
            ledger.checkpoint()
        return Flushed(rows.num_rows, len(files), sum(file.size for file in files))

    def _write_files(self, table: Table, rows: pa.Table, folder: Path) -> list[ParquetFile]:
        files: list[ParquetFile] = []
        try:
            for hour, part in by_hour(rows, table, MAX_FILES):
                files.append(write_file(part, hour, table, folder, self._step))
        except BaseException:  # no commit names them yet, so they are nobody's
            remove_files(files, folder)
            raise
        self._step("files named")
        return files


def _unavailable(lake: Path, error: OSError) -> UnavailableError:
    said = _DISK.get(error.errno or 0, str(error))
    return UnavailableError(
        f"{lake}: {said}; nothing is lost, Kafka keeps the rows until its retention ends. Make room: "
        "the writer tries again by itself."
    )


def _moves(
    ledger: Ledger, table: Table, pending: Pending
) -> tuple[dict[Source, Position | None], dict[Source, Position]]:
    """Return from where to where the table's positions move with `pending`."""
    start: dict[Source, Position | None] = {}
    end: dict[Source, Position] = {}
    for source, messages in pending.items():
        if source.topic not in table.topics or not messages:
            continue
        position = ledger.position(source)
        _require_reach(source, position, messages[0])
        if position is None or messages[-1].offset >= position.next:
            start[source] = position
            end[source] = position_after(messages[-1], 1 if position is None else position.epoch)
    return start, end


def _require_reach(source: Source, position: Position | None, first: Message) -> None:
    """Raise PositionMovedError where what was gathered begins behind the position: rows between would be lost."""
    if position is None or TOPIC_BY_NAME[source.topic].cleanup == "compact":
        return
    begins = first_offset(first.offset, first.headers)
    if begins > position.next:
        raise PositionMovedError(f"{source}: gathered from offset {begins} on, and the table stands at {position.next}")
