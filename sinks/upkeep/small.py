"""The duty that keeps tables small: closed hours are compacted, mixed files taken apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from schemas.errors import UnavailableError, WattlineError
from sinks.lake.ledger import Ledger, LiveFile, ReplacedError
from sinks.lake.parquet import Step
from sinks.lake.tables import MIXED_HOUR, TABLES, Table
from sinks.upkeep.closed import due_hours, is_quiet
from sinks.upkeep.compaction import HALF_MADE, clear, compact_hour
from sinks.upkeep.mixed import unmix

TURN_SECS = 120.0
"""After so long the other duties have their turn; what is left is done in the next one."""
AGAIN_SECS = 3_600.0
"""So long what was refused is left alone unless it changes: a full disk, a damaged file."""


class Compaction:
    """Compact what is due, table by table; what was refused is tried again once it has changed, or in an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, step: Step = lambda _: None) -> None:
        self._clock, self._step = clock, step
        self._refused: dict[tuple[str, str], tuple[object, float]] = {}
        self._first = 0

    def __call__(self, lake: Path, now: datetime) -> Iterator[str]:
        """Yield a sentence for each hour."""
        end = self._clock() + TURN_SECS
        for number in range(len(TABLES)):
            at = (self._first + number) % len(TABLES)
            for sentence in self._table(TABLES[at], lake, now.astimezone(UTC).replace(tzinfo=None)):
                yield sentence
                if self._clock() > end:
                    self._first = at
                    return

    def _table(self, table: Table, lake: Path, now: datetime) -> Iterator[str]:
        try:
            ledger = open_ledger(table, lake, self._step)
        except UnavailableError as error:  # no reason to leave the other tables large
            yield str(error)
            return
        if ledger is not None:
            yield from self._ledger(ledger, now)

    def _ledger(self, ledger: Ledger, now: datetime) -> Iterator[str]:
        clear(ledger.folder / HALF_MADE)  # of one that was killed
        live = ledger.live()
        newest = max((file.appended for file in live.values() if file.appended), default=now)
        populated = len({file.hour for file in live.values()})
        for file in live.values():
            if file.hour == MIXED_HOUR and is_quiet(file.appended or now, newest, now):
                yield from self._tried(ledger, file.path, populated, partial(unmix, ledger, file, self._step))
        live = ledger.live()
        for hour in due_hours(live.values(), now):
            yield from self._tried(ledger, hour, _paths(live, hour), partial(compact_hour, ledger, hour, self._step))

    def _tried(self, ledger: Ledger, what: str, state: object, act: Callable[[], object | None]) -> Iterator[str]:
        """Act, unless the very same was refused or had nothing to do; a refusal stops no other hour."""
        key = ledger.table.name, what
        before, until = self._refused.get(key, (None, 0.0))
        if before == state and self._clock() < until:
            return
        self._refused[key] = state, self._clock() + AGAIN_SECS
        try:
            told = act()
        except (WattlineError, ReplacedError, OSError) as error:
            yield f"{ledger.table.name} {what} stays as it is: {error}"
            ledger.reopen()
            return
        if told is not None:
            del self._refused[key]
            yield str(told)


def open_ledger(table: Table, lake: Path, step: Step = lambda _: None) -> Ledger | None:
    """Open a table of a lake; None where nobody has written to it yet.

    Raises UnavailableError where its log is damaged: a writer's start mends it.
    """
    folder = table.folder(lake)
    try:
        return Ledger(table, lake, step) if DeltaTable.is_deltatable(str(folder)) else None
    except DeltaError as error:
        raise UnavailableError(
            f"{folder} cannot be opened: {error}. Start the lake writer anew: it sets what is damaged aside"
        ) from error


def _paths(live: dict[str, LiveFile], hour: str) -> frozenset[str]:
    return frozenset(path for path, file in live.items() if file.hour == hour)
