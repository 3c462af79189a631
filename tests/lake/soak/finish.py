"""The end of a stretch of faults: a writer that nobody disturbs comes to the end of the log."""

from __future__ import annotations

import asyncio
import signal

from sinks.lake.log_reader import read_ends
from sinks.lake.status import read_status, sources_of
from sinks.lake.tables import TABLES
from tests.lake.soak.arena import Arena


def finish(bootstrap: str, arena: Arena, within_secs: float = 300.0) -> None:
    """Let a new writer write all that the log has now, and end it cleanly."""
    arena.end_all()
    writer = arena.start()
    ends = asyncio.run(read_ends(bootstrap, {source for table in TABLES for source in sources_of(table)}))

    def is_there() -> bool:
        return all(lag <= 0 for status in read_status(arena.lake, ends) for lag in (status.lag or {}).values())

    writer.wait(is_there, "the end of the log", within_secs, every_secs=0.2)
    assert arena.end(0, signal.SIGTERM).said("ended cleanly")
