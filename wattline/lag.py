"""How far the lake is behind Kafka, in messages: what a person watches beside the age of the data."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import WattlineError
from sinks.lake.log_reader import read_ends
from sinks.lake.status import read_status, sources_of
from sinks.lake.tables import TABLES

MEASURE_EVERY_SECS = 5.0


@dataclass
class LakeLag:
    """Hold the messages that Kafka has beyond the lake's positions; None until there is a lake."""

    messages: int | None = None

    @property
    def words(self) -> str:
        """Return the lag for a person."""
        return (
            "the lake has written nothing yet" if self.messages is None else f"lake {self.messages:,} messages behind"
        )


@contextlib.asynccontextmanager
async def measured(lake: Path, bootstrap: str) -> AsyncIterator[LakeLag]:
    """Measure the lag again and again within the block."""
    lag = LakeLag()
    task = asyncio.create_task(_keep_measuring(lag, lake, bootstrap))
    try:
        yield lag
    finally:
        task.cancel()


async def _keep_measuring(lag: LakeLag, lake: Path, bootstrap: str) -> None:
    sources = {source for table in TABLES for source in sources_of(table)}
    while True:
        with contextlib.suppress(WattlineError):  # no lake yet, or a broker away: the age of the data tells
            ends = await read_ends(bootstrap, sources)
            tables = await asyncio.to_thread(read_status, lake, ends)
            lag.messages = sum(sum((table.lag or {}).values()) for table in tables)
        await asyncio.sleep(MEASURE_EVERY_SECS)
