"""What the app hears from Kafka: how workers do, windows and alerts, the facility; it waits for what is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NoReturn

from aiokafka.errors import KafkaError

from broker.consumer import follow
from broker.facility import TOPIC as FACILITY
from broker.facility import read_registry
from schemas.errors import WattlineError
from schemas.health import TOPIC as HEALTH
from web.live import kept_up, state_now
from web.state import State

TRY_AGAIN_SECS = 2.0
WORKERS, CAMPUS = "workers", "windows and alerts"
log = logging.getLogger(__name__)


async def keep_up(state: State, bootstrap: str) -> None:
    """Keep `state` up to date until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_again_and_again(state, WORKERS, lambda: _hear_workers(state, bootstrap)))
        group.create_task(_again_and_again(state, CAMPUS, lambda: _hear_campus(state, bootstrap)))


async def _again_and_again(state: State, what: str, hear: Callable[[], Awaitable[None]]) -> NoReturn:
    while True:
        try:
            await hear()
        except* (WattlineError, KafkaError) as errors:
            sentence = str(_first(errors))
            if state.troubles.get(what) != sentence:
                log.warning(sentence)
            state.troubles[what] = sentence
        await asyncio.sleep(TRY_AGAIN_SECS)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def _hear_workers(state: State, bootstrap: str) -> None:
    async for message in follow(bootstrap, HEALTH, "earliest"):
        state.workers.take([message])
        state.troubles.pop(WORKERS, None)


async def _hear_campus(state: State, bootstrap: str) -> None:
    """Hear windows and alerts, and move on to each newer facility; begins when there is one."""
    registry = await read_registry(bootstrap)
    now = datetime.now(UTC)
    live = await state_now(bootstrap, registry, now)
    state.live = live
    state.troubles.pop(CAMPUS, None)
    async with kept_up(live, bootstrap, now):
        async for _ in follow(bootstrap, FACILITY, int(now.timestamp() * 1_000_000)):
            live.move_to(await read_registry(bootstrap))
