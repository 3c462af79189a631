"""Whether a lake holds every raw row of a stretch of time, asked before anything is recomputed from it.

The writer of the lake reads each partition without a hole, and halts where there is one. What may lack is
what lies before its beginning (retention had cut the log when it began), and what somebody took out.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from deltalake import DeltaTable

from history.raw_rows import as_in_lake
from history.recompute import SECOND, Span, needed
from schemas.admission import Clock
from schemas.admission_rules import CLOCK_AHEAD_SECS
from schemas.errors import WattlineError
from schemas.topics import BY_NAME as TOPICS
from sinks.lake.ledger import read_position
from sinks.lake.positions import Source
from sinks.lake.repeated import read_repeated
from sinks.lake.tables import BY_NAME, Table
from sinks.sql.snapshot import Span as Times
from sinks.sql.snapshot import live_files, open_table
from streams.meter_log import MAX_HOLD_MICROSECONDS

SOURCES = {"gpu": "telemetry.gpu.v1", "power": "telemetry.power.v1"}
"""The tables of raw rows, and where each comes from."""
NEEDED = SOURCES | {"facility": "facility.v1", "rejected": "telemetry.rejected.v1", "jobs": "telemetry.jobs.v1"}
"""The tables that a recomputation reads, which are committed one by one."""
ON_TIME_MICROSECONDS = 60_000_000
"""So long after its end what belongs to a stretch is on time; of that every offset must be there."""


_FIRST_FILES = 24
"""So many of the oldest files say which messages of the log's start have no row because they were repeated."""


class IncompleteError(WattlineError):
    """Report that raw rows of a stretch are gone for good: its windows stay as they are."""


def read_positions(lake: Path) -> dict[Source, int]:
    """Return the next offset of each partition that a recomputation needs and the lake has read anything of."""
    found: dict[Source, int] = {}
    for name, topic in NEEDED.items():
        delta = open_table(lake, BY_NAME[name])
        for source in (Source(topic, number) for number in range(TOPICS[topic].partitions)):
            position = None if delta is None else read_position(delta, source)
            if position is not None:
                found[source] = position.next
    return found


def newest_event(lake: Path) -> int:
    """Return the greatest event time of any reading in the lake, UTC µs; 0 where it has none."""
    tables = [open_table(lake, BY_NAME[name]) for name in SOURCES]
    actions = [pl.DataFrame(delta.get_add_actions(flatten=True)) for delta in tables if delta is not None]
    newest = [frame["max.time"].to_physical().max() for frame in actions if len(frame)]
    return max((int(each) for each in newest if each is not None), default=0)  # type: ignore[arg-type]


def require_complete(lake: Path, span: Span, clock: Clock) -> None:
    """Raise IncompleteError where raw rows of the minutes of `span` are not in the lake any more, or never were.

    By the wall clock a reading is appended after it was measured, so what was appended from the hold before the
    minutes on must be there; by event time everything from the start of the log.
    """
    first, end = needed(span)
    window = (
        as_in_lake(first - MAX_HOLD_MICROSECONDS - CLOCK_AHEAD_SECS * SECOND),
        as_in_lake(end + ON_TIME_MICROSECONDS),
    )
    for name, topic in SOURCES.items():
        delta = open_table(lake, BY_NAME[name])
        if delta is None:
            continue
        appended = _Appended(delta, BY_NAME[name])
        refused = pl.concat([_refused(lake, topic), appended.repeated(*(window if clock == "wall" else (None, None)))])
        read = [number for number in range(TOPICS[topic].partitions) if read_position(delta, Source(topic, number))]
        _require_beginning(topic, appended.oldest(), refused, read, window[0] if clock == "wall" else None)
        _require_no_hole(topic, appended.between(*(window if clock == "wall" else (None, None))), refused)


def _require_beginning(
    topic: str,
    oldest: dict[int, tuple[int, datetime]],
    refused: pl.DataFrame,
    read: list[int],
    since: datetime | None,
) -> None:
    """Raise where the log had been cut when the lake began, and what was cut may belong to the stretch."""
    for number in read:
        offset, appended = oldest.get(number, (0, datetime.min))
        gone = offset - len(refused.filter((pl.col("_partition") == number) & (pl.col("_offset") < offset)))
        if gone and (since is None or appended > since):
            raise IncompleteError(
                f"{topic}/{number}: the lake begins at offset {offset}, appended {appended.isoformat()}Z; "
                f"{gone} messages before it were deleted by retention before they were written, and may belong to it"
            )


def _require_no_hole(topic: str, rows: pl.DataFrame, refused: pl.DataFrame) -> None:
    """Raise where offsets between others have no row, and nobody refused their messages."""
    known = pl.concat([rows.select("_partition", "_offset").cast(refused.schema), refused]).unique()  # type: ignore[arg-type]
    bounds = rows.group_by("_partition").agg(low=pl.col("_offset").min(), high=pl.col("_offset").max())
    inside = known.join(bounds.cast({"_partition": pl.Int32}), on="_partition").filter(
        pl.col("_offset").is_between("low", "high")
    )
    steps = inside.sort("_partition", "_offset").with_columns(after=pl.col("_offset").shift(-1).over("_partition"))
    holes = steps.filter(pl.col("after") > pl.col("_offset") + 1)
    if len(holes):
        number, before, after = holes.select("_partition", "_offset", "after").row(0)
        raise IncompleteError(
            f"{topic}/{number}: of offsets {before + 1} to {after - 1} the lake has neither rows nor refusals: "
            f"somebody took them out, or their messages had no rows"
        )


def _refused(lake: Path, topic: str) -> pl.DataFrame:
    """Return (_partition, _offset) of the messages of which rows were refused."""
    files = live_files(lake, BY_NAME["rejected"], Times())
    schema = {"_partition": pl.Int32, "_offset": pl.Int64}
    if not files:
        return pl.DataFrame(schema=schema)
    kept = [("topic", "=", topic)]
    found = pq.read_table(files, columns=["partition", "offset"], filters=kept, partitioning=None)
    places = pl.DataFrame(found).select(_partition="partition", _offset="offset")
    return places.cast(schema).unique()  # type: ignore[arg-type]


class _Appended:
    """Know which rows of one table were appended when, by the bounds that its log keeps of each file."""

    def __init__(self, delta: DeltaTable, table: Table) -> None:
        actions = pl.DataFrame(delta.get_add_actions(flatten=True))
        names = pl.Series([path.rsplit("/", 1)[-1] for path in delta.file_uris()], dtype=pl.String)
        uris = pl.DataFrame({"name": names, "uri": pl.Series(delta.file_uris(), dtype=pl.String)})
        self.table = table
        self._files = (
            actions.select(name=pl.col("path").str.split("/").list.last(), low="min._appended", high="max._appended")
            .join(uris, on="name")
            .sort("low")
            if len(actions)
            else pl.DataFrame(schema={"low": pl.Datetime("us"), "high": pl.Datetime("us"), "uri": pl.String})
        )

    def between(self, since: datetime | None, until: datetime | None) -> pl.DataFrame:
        """Return (_partition, _offset, _appended) of the rows of the files that reach into a stretch of appending."""
        return _places(self._reaching(since, until)["uri"].to_list())

    def repeated(self, since: datetime | None, until: datetime | None) -> pl.DataFrame:
        """Return (_partition, _offset) of messages of a stretch, or the log's start, that stand repeated elsewhere."""
        files = pl.concat([self._files.head(_FIRST_FILES), self._reaching(since, until)]).unique("uri")
        return read_repeated(Path(uri) for uri in files["uri"])

    def _reaching(self, since: datetime | None, until: datetime | None) -> pl.DataFrame:
        if since is None or until is None:
            return self._files
        return self._files.filter((pl.col("high") >= since) & (pl.col("low") <= until))

    def oldest(self) -> dict[int, tuple[int, datetime]]:
        """Return the first offset of each partition that has rows, and when it was appended."""
        found: dict[int, tuple[int, datetime]] = {}
        for _, files in self._files.group_by("low", maintain_order=True):
            first = _places(files["uri"].to_list()).sort("_offset").unique("_partition", keep="first")
            for number, offset, appended in first.iter_rows():
                if number not in found or offset < found[number][0]:
                    found[number] = (offset, appended)
            if len(found) == TOPICS[SOURCES[self.table.name]].partitions:
                break
        return found


def _places(files: list[str]) -> pl.DataFrame:
    columns = ["_partition", "_offset", "_appended"]
    if not files:
        return pl.DataFrame(schema={"_partition": pl.Int32, "_offset": pl.Int64, "_appended": pl.Datetime("us")})
    return pl.DataFrame(pq.read_table(files, columns=columns, partitioning=None, page_checksum_verification=True))
