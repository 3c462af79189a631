"""The canary's readings: every period four of its meter, the first three over its limit (schemas.canary).

They stand at whole multiples of the period, so that every app that sends them sends the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from broker.producer import Producer
from schemas import canary
from schemas.errors import WattlineError

TOPIC = "telemetry.power.v1"
HEADERS = (("content-type", b"application/json"),)
WATTS = (1500.0, 1500.0, 1500.0, 0.0)
TRY_AGAIN_SECS = 5.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger(__name__)


def next_due(now: datetime, every: timedelta) -> datetime:
    """Return the first multiple of the period after `now`."""
    return _EPOCH + ((now - _EPOCH) // every + 1) * every


def reading(time: datetime, watts: float) -> bytes:
    """Return one reading as JSON."""
    sent = {"time": time, "meter": canary.METER, "power_watts": watts, "interval_seconds": canary.INTERVAL_SECONDS}
    return msgspec.json.encode(sent)


async def sing(bootstrap: str, every: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
    """Send readings each period until cancelled; a Kafka that is away is tried again."""
    while True:
        try:
            async with Producer(bootstrap, alarm=log.info) as producer:
                while True:
                    await _sing_once(producer, next_due(clock(), every), clock)
        except WattlineError as error:
            log.warning("the canary is not sent: %s", error)
            await asyncio.sleep(TRY_AGAIN_SECS)


async def _sing_once(producer: Producer, due: datetime, clock: Callable[[], datetime]) -> None:
    for second, watts in enumerate(WATTS):
        time = due + timedelta(seconds=second)
        await asyncio.sleep(max(0.0, (time - clock()).total_seconds()))
        await producer.send(TOPIC, reading(time, watts), canary.KEY, HEADERS)
