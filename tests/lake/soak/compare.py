"""A lake beside what Kafka has acknowledged: every place once, without a hole, with the fingerprint that was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from tests.lake.readings import GPU_TOPIC, POWER_TOPIC
from tests.lake.soak.feed import ALERTS_TOPIC, PROGRESS_TOPIC, WINDOWS_TOPIC
from tests.lake.soak.fingerprint import BY_MESSAGE, Words, by_message, bytes_words, floats, integers

PLACE = ["_partition", "_offset", "_row"]


class Found(NamedTuple):
    """Count what a lake holds of one topic, and what is wrong with it; `first` shows one wrong place."""

    topic: str
    messages: int
    rows: int
    lost: int
    doubled: int
    other: int
    first: str


def _times(column: pa.ChunkedArray) -> Words:
    return integers(column.cast(pa.int64()).to_pylist())


def _gpu(rows: pa.Table) -> list[Words]:
    names = ("rack", "node", "gpu", "power_deciwatts", "_row")
    return [_times(rows["time"]), *(integers(rows[name].to_pylist()) for name in names)]


def _power(rows: pa.Table) -> list[Words]:
    return [_times(rows["time"]), _of(rows, "meter"), floats(rows["power_watts"].to_pylist()), _of(rows, "_row")]


def _progress(rows: pa.Table) -> list[Words]:
    return [bytes_words(job.encode() for job in rows["job"].to_pylist()), _of(rows, "steps"), _of(rows, "_row")]


def _refused(rows: pa.Table) -> list[Words]:
    return [bytes_words(rows["raw"].to_pylist())]


def _of(rows: pa.Table, name: str) -> Words:
    return integers(rows[name].to_pylist())


CHECKED: dict[str, tuple[str, list[str], Callable[[pa.Table], list[Words]]]] = {
    GPU_TOPIC: ("gpu", ["time", "rack", "node", "gpu", "power_deciwatts"], _gpu),
    POWER_TOPIC: ("power", ["time", "meter", "power_watts"], _power),
    PROGRESS_TOPIC: ("progress", ["job", "steps"], _progress),
    WINDOWS_TOPIC: ("rejected", ["raw", "_topic"], _refused),
    ALERTS_TOPIC: ("rejected", ["raw", "_topic"], _refused),
}


def compare(lake: Path, noted: pl.DataFrame) -> Iterator[Found]:
    """Yield what is found of each topic; `noted` is what Kafka acknowledged, of all runs so far."""
    for topic, (table, columns, words) in CHECKED.items():
        rows = _rows(lake, table, columns)
        if "_topic" in columns:
            rows = rows.filter(pa.compute.equal(rows["_topic"], topic))
        frame = pl.DataFrame(rows.select(PLACE))
        held = by_message(frame["_partition"], frame["_offset"], words(rows)) if len(frame) else _NOTHING
        yield _found(topic, held, frame, noted.filter(pl.col("topic") == topic))


_NOTHING = pl.DataFrame(schema=BY_MESSAGE)


def _found(topic: str, held: pl.DataFrame, places: pl.DataFrame, noted: pl.DataFrame) -> Found:
    """Lost: acknowledged and not there, or offsets without a row. Doubled: a row more than once."""
    once = places.unique()
    doubled = len(places) - len(once)
    at = ["partition", "offset"]
    both = noted.join(held, on=at, how="left", suffix="_held")
    lost = both.filter(pl.col("rows_held").is_null() | (pl.col("rows_held") < pl.col("rows")))
    other = both.filter((pl.col("rows_held") == pl.col("rows")) & (pl.col("fingerprint_held") != pl.col("fingerprint")))
    spans = held.group_by("partition").agg(pl.col("offset").max(), pl.len())
    holes = int((spans["offset"] + 1 - spans["len"]).sum()) if len(spans) else 0
    wrong = pl.concat([lost.select(at), other.select(at), _twice(places)])
    first = f"{topic}/{wrong['partition'][0]}/{wrong['offset'][0]}" if len(wrong) else ""
    return Found(topic, len(held), len(places), max(len(lost), holes), doubled, len(other), first)


def _twice(places: pl.DataFrame) -> pl.DataFrame:
    twice = places.filter(places.is_duplicated())
    return twice.select(partition=pl.col("_partition").cast(pl.Int32), offset=pl.col("_offset").cast(pl.Int64))


def _rows(lake: Path, table: str, columns: Iterable[str]) -> pa.Table:
    uris = DeltaTable(str(lake / table)).file_uris()
    wanted = [*columns, *PLACE]
    if not uris:
        return pa.table({name: pa.array([], _EMPTY.get(name, pa.int64())) for name in wanted})
    return pa.concat_tables([pq.ParquetFile(uri).read(wanted) for uri in uris])


_EMPTY = {"raw": pa.binary(), "_topic": pa.string(), "job": pa.string(), "power_watts": pa.float64()}


def read_note(state: Path) -> pl.DataFrame:
    """Return what was acknowledged in all runs."""
    return pl.concat([pl.read_parquet(path) for path in sorted(state.glob("acknowledged-*.parquet"))])
