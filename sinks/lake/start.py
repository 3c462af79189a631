"""The start of a writer: its slot, its share of the lake's lock, and the check of every log if nobody writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from schemas.errors import ConfigurationError
from sinks.lake.locks import lake_lock, slot_lock
from sinks.lake.log_check import check_log
from sinks.lake.parquet import clear_temporary
from sinks.lake.tables import TABLES

log = logging.getLogger(__name__)

_RETRY_SECS = 0.25
RESTORING = ".restoring"
"""The file in a lake's folder that says which backup is half restored there."""


@asynccontextmanager
async def place_in_lake(lake: Path, slot: int, stopping: asyncio.Event) -> AsyncIterator[bool]:
    """Hold a slot of a lake for the block, once it is free; False where `stopping` came first.

    Damage to a log comes from a loss of power, which no writer survives. So the logs are checked, and
    half-written files removed, exactly when no other writer is alive.
    """
    own, all_writers = slot_lock(lake, slot), lake_lock(lake)
    try:
        if not own.try_alone():
            log.info("lake: slot %d is held by another process; standing by", slot)
        if not await _until(own.try_alone, stopping):
            yield False
            return
        if all_writers.try_alone():
            await asyncio.to_thread(mend, lake)
        has_share = await _until(all_writers.try_shared, stopping)
        refuse_half_restored(lake)
        yield has_share
    finally:
        own.release()
        all_writers.release()


def refuse_half_restored(lake: Path) -> None:
    """Raise ConfigurationError where a restore was interrupted: tables that are missing would begin anew, empty."""
    marker = lake / RESTORING
    if marker.exists():
        raise ConfigurationError(
            f"{lake}: point {marker.read_text()} is half restored here; run `wattline lake restore` again, it goes on "
            "where it was"
        )


def mend(lake: Path) -> None:
    """Set damaged parts of every log aside and remove half-written files; the caller holds the lake's lock alone."""
    for table in TABLES:
        folder = table.folder(lake)
        for sentence in check_log(folder):
            log.warning("lake: %s", sentence)
        clear_temporary(folder)


async def _until(attempt: Callable[[], bool], stopping: asyncio.Event) -> bool:
    """Try until `attempt()` succeeds; False when stopped."""
    while not attempt():
        try:
            await asyncio.wait_for(stopping.wait(), _RETRY_SECS)
        except TimeoutError:
            continue
        return False
    return True
