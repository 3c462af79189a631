"""What was found damaged in a lake, and what came of it: kept in the lake, told by SQL (`FROM damage`)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec
import pyarrow as pa

from sinks.lake.durable import make_folder, move
from sinks.upkeep.notebook import FOLDER

_FILE = "damage.json"


class Damage(msgspec.Struct, frozen=True):
    """Tell of one file that was taken out of its table.

    `low` and `high` are when the first and the last of its rows were appended to Kafka; `bounds` are the least and the
    greatest value of each column that the log keeps, times in µs. `refilled` and `lost` count rows, null as long as
    Kafka was not asked yet. `attempt` is the application transaction of the last try, and the rows that it had of this
    file: where the table has that transaction, it was made.
    """

    table: str
    path: str
    hour: str
    rows: int
    low: datetime | None
    high: datetime | None
    bounds: dict[str, tuple[int, int]]
    found: datetime
    why: str
    refilled: int | None = None
    lost: int | None = None
    attempt: tuple[str, int] | None = None

    def __str__(self) -> str:
        span = f"appended {self.low} to {self.high}" if self.low else "of unknown times"
        said = f"{self.table}, hour {self.hour}, {self.rows:,} rows {span}: {self.why}; it is set aside"
        if self.lost is None:
            return f"{said}, its rows are missing until Kafka was asked for them"
        what = "all are refilled from Kafka" if not self.lost else f"{self.refilled:,} are refilled from Kafka"
        return f"{said}, {what}" + (f", {self.lost:,} rows are lost" if self.lost else "")


ARROW = pa.schema(
    [
        pa.field("table", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("hour", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("first_appended", pa.timestamp("us")),
        pa.field("last_appended", pa.timestamp("us")),
        pa.field("found", pa.timestamp("us"), nullable=False),
        pa.field("why", pa.string(), nullable=False),
        pa.field("refilled_rows", pa.int64()),
        pa.field("lost_rows", pa.int64()),
    ]
)
"""The relation `damage`: a row a file that was set aside; `lost_rows` null = Kafka was not asked yet."""


def read_damage(lake: Path) -> list[Damage]:
    """Return everything that was found damaged in a lake, in the order in which it was found."""
    path = lake / FOLDER / _FILE
    return msgspec.json.decode(path.read_bytes(), type=list[Damage]) if path.exists() else []


def note_damage(lake: Path, noted: Iterable[Damage]) -> None:
    """Keep these durably; what is known of the same file before is replaced."""
    known = {(each.table, each.path): each for each in read_damage(lake)}
    known |= {(each.table, each.path): each for each in noted}
    make_folder(lake / FOLDER)
    path = lake / FOLDER / _FILE
    temporary = path.with_suffix(".writing")
    with temporary.open("wb") as out:
        out.write(msgspec.json.encode(list(known.values())))
        out.flush()
        os.fsync(out.fileno())
    move(temporary, path)


def as_table(damages: list[Damage]) -> pa.Table:
    """Return what was found as the relation that SQL sees."""
    rows = [
        (
            each.table,
            each.path,
            each.hour,
            each.rows,
            each.low,
            each.high,
            each.found.replace(tzinfo=None),
            each.why,
            each.refilled,
            each.lost,
        )
        for each in damages
    ]
    return pa.table([pa.array(column, field.type) for column, field in zip(_columns(rows), ARROW, strict=True)], ARROW)


def missing_note(lake: Path) -> str | None:
    """Return a sentence about rows that questions do not find, or None where nothing is missing."""
    missing = [each for each in read_damage(lake) if each.lost != 0]
    if not missing:
        return None
    rows = sum(each.rows if each.lost is None else each.lost for each in missing)
    tables = ", ".join(sorted({each.table for each in missing}))
    return f"{rows:,} rows of {tables} are missing from this lake: their files were damaged. See FROM damage"


def _columns(rows: list[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in ARROW]
