"""Windows recomputed from a lake: what is asked first, which generation they get, and minute by minute the rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from history.coverage import require_complete
from history.jobs import read_jobs, read_told
from history.raw_rows import newest_generation, read_raw, read_timeline
from history.recompute import Jobs, Recomputed, Span, needed, recompute
from schemas.admission import Clock
from schemas.errors import ConfigurationError
from streams.watches import Watches


def recomputed(lake: Path, span: Span, clock: Clock, site: str | None = None) -> Iterator[Recomputed]:
    """Yield, minute by minute, the windows of `span` and of its minutes, of one site or of all.

    Their generation is one more than any that the lake has there. Raises IncompleteError before the first
    where raw rows are missing, ConfigurationError where the lake has no facility.
    """
    timeline = read_timeline(lake)
    if not timeline.newest.parts:
        raise ConfigurationError(f"{lake} holds no facility: nothing says what its readings are of")
    require_complete(lake, span, clock)
    generation, watches = newest_generation(lake, span) + 1, Watches((), timeline)
    records = read_jobs(lake)
    for part in span.by_minute():
        raw = read_raw(lake, needed(part), timeline, clock)
        jobs = Jobs(records, read_told(lake, part))
        yield recompute(raw, part, timeline, watches, generation, jobs).of(site)
