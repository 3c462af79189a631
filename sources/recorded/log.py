"""What a reader of recorded logs gives back, whatever the format: readings, spans and what was left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from schemas.subject import MeterLevel

READINGS: dict[str, pl.DataType | type[pl.DataType]] = {
    "time": pl.Datetime("us"),
    "phase": pl.Int8,
    "power_watts": pl.Float64,
    "apparent_va": pl.Float64,
    "current_amps": pl.Float64,
    "voltage_volts": pl.Float64,
    "quality": pl.Int8,
}
"""What a recorded meter can say; meanings and units as in schemas.meter."""

LAST_MICROSECOND = 253_402_300_800_000_000
"""The end of the year 9999: a stamp at or beyond it is no time."""


class Span(NamedTuple):
    """Bound a stretch of time in UTC µs; both ends are instants at which the meter measured."""

    started: int
    ended: int


class Unread(NamedTuple):
    """Name one line that could not be read; `line` counts from 1."""

    line: int
    reason: str


@dataclass(frozen=True)
class MeterLog:
    """Hold what one meter says: `readings` (columns of READINGS, by time) and its spans.

    `name` tells the meter from its neighbours in the same run; spans run from the meter's own start
    to its own stop markers.
    """

    name: str
    level: MeterLevel
    readings: pl.DataFrame
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class FileLog:
    """Hold what one file says; `beside` counts by name what was understood and is no reading."""

    path: Path
    meters: tuple[MeterLog, ...]
    unread: tuple[Unread, ...] = ()
    beside: Counter[str] = field(default_factory=Counter)


def extent(readings: pl.DataFrame) -> Span:
    """Return the times of the earliest and the latest reading; there must be one."""
    time = pl.col("time").dt.epoch("us")
    return Span(*readings.select(time.min().alias("started"), time.max().alias("ended")).row(0))


def read_text(path: Path) -> str:
    """Return a log's text without byte order mark; what is not UTF-8 becomes U+FFFD."""
    return path.read_bytes().decode("utf-8-sig", errors="replace")


def numbered_lines(text: str) -> pl.DataFrame:
    """Split a text into its lines that are not blank.

    **Frame** out: `line` u32 from 1, `text` str without line end; sorted by `line`.
    """
    lines = pl.DataFrame({"text": text.split("\n")}, schema={"text": pl.String})
    lines = lines.with_row_index("line", offset=1).with_columns(pl.col("text").str.strip_chars())
    return lines.filter(pl.col("text") != "")
