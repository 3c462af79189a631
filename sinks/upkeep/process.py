"""The upkeep of a lake as a process: its place, signals, health, and the thread in which the duties are done."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from broker.health import Counted, Reporter, reads_no_partition
from broker.watchdog import Watchdog
from sinks.lake.locks import FolderLock, upkeep_place
from sinks.upkeep.agenda import Duty
from sinks.upkeep.duties import DUTIES
from sinks.upkeep.loop import keep
from sinks.upkeep.measure import Measure

GRACE_SECS = 2.0
"""So long a duty may go on after the process was asked to end. Then it is cut off, as a kill would."""
RETRY_SECS = 0.25

log = logging.getLogger(__name__)


def run(
    bootstrap: str, lake: Path, slot: int = 0, duties: Sequence[Duty] = DUTIES, measure: Measure | None = None
) -> None:
    """Keep a lake until SIGTERM or SIGINT. A second process of one lake stands by until the first is gone."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.nice(10)  # what is live cannot wait, this can
    asyncio.run(_run(bootstrap, lake, slot, duties, measure or Measure()))
    os._exit(0)  # a duty that is not done is cut off here; Python would wait for native code


async def _run(bootstrap: str, lake: Path, slot: int, duties: Sequence[Duty], measure: Measure) -> None:
    stopping, ended = asyncio.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    Watchdog(f"upkeep-{slot}", log.error).start()
    place = upkeep_place(lake)
    if not await _is_ours(place, lake, stopping):
        return
    counted = Counted()
    counted.lake = measure.told
    reporter = Reporter(bootstrap, "upkeep", slot, counted, reads_no_partition)
    reporter.start()
    keeping = threading.Thread(target=keep, args=(lake, duties, ended), name="duties", daemon=True)
    keeping.start()
    log.info("upkeep of %s: %s", lake, ", ".join(duty.name for duty in duties))
    while keeping.is_alive() and not stopping.is_set():
        await _pause(stopping)
    ended.set()
    if stopping.is_set():
        await reporter.stop()
        keeping.join(GRACE_SECS)
        return
    raise RuntimeError("upkeep: the thread of the duties has ended; what it said stands above")


async def _is_ours(place: FolderLock, lake: Path, stopping: asyncio.Event) -> bool:
    """Take the place of the one upkeep process of a lake, waiting for it; False where stopped first."""
    if place.try_alone():
        return True
    log.info("upkeep of %s is done by another process; standing by", lake)
    while not place.try_alone():
        await _pause(stopping)
        if stopping.is_set():
            return False
    return True


async def _pause(stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), RETRY_SECS)
    except TimeoutError:
        return
