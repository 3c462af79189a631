"""A lake writer beside the streams, and what its tables hold in the end: the raw rows, and what was told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa

from sinks.lake.log_reader import read_ends
from sinks.lake.positions import Source
from sinks.lake.status import read_status, sources_of
from sinks.lake.tables import TABLES
from tests.lake.readings import rows_of
from tests.lake.writers import WriterProcess, wait_until


class LakeBeside:
    """Read the tables of one lake; `caught_up` first."""

    def __init__(self, bootstrap: str, folder: Path, writer: WriterProcess) -> None:
        self._bootstrap, self._folder, self._writer = bootstrap, folder, writer

    def caught_up(self) -> LakeBeside:
        """Wait until the lake holds all that Kafka has now."""
        ends = asyncio.run(read_ends(self._bootstrap, {source for table in TABLES for source in sources_of(table)}))
        wait_until(lambda: self._lag(ends) <= 0, self._writer.latest)
        return self

    def _lag(self, ends: Mapping[Source, int]) -> int:
        return max(lag for status in read_status(self._folder, ends) for lag in (status.lag or {}).values())

    def raw(self) -> dict[str, pa.Table]:
        """Return the rows of the tables `gpu` and `power`."""
        return {name: rows_of(self._folder, name) for name in ("gpu", "power")}

    def windows(self) -> pl.DataFrame:
        """Return every version of every window."""
        return pl.concat([self._frame("windows_1s"), self._frame("windows_1m")])

    def histograms(self) -> pl.DataFrame:
        """Return every version of every bin."""
        return self._frame("histograms")

    def _frame(self, table: str) -> pl.DataFrame:
        frame = pl.from_arrow(rows_of(self._folder, table))
        assert isinstance(frame, pl.DataFrame)
        return frame


@contextmanager
def lake_beside(bootstrap: str, folder: Path) -> Iterator[LakeBeside]:
    """Let a writer write a lake into `folder` for the block."""
    settings = {"clock": "event", "flush_secs": 2.0, "session_timeout_secs": 10.0}
    options = {"bootstrap": bootstrap, "lake": str(folder), "settings": settings}
    writer = WriterProcess(options | {"step": "", "occurrence": 1, "signal": "SIGKILL"})
    try:
        yield LakeBeside(bootstrap, folder, writer)
    finally:
        writer.kill()
