"""Notice that a facility was published that is newer than the one a worker runs on."""

from __future__ import annotations

import time

from broker.consumer import follow
from schemas.errors import ConfigurationError
from schemas.registry import Registry
from schemas.site_frames import SiteFrames

TOPIC = "facility.v1"
LOOK_BACK_MICROSECONDS = 3_600_000_000
"""The registry was read a moment ago by our clock; an hour allows for the broker's."""


async def until_changed(bootstrap: str, registry: Registry) -> str:
    """Return a sentence when a site of `facility.v1` has a newer version than in `registry`."""
    known = {part.site: part.version for part in registry.parts}
    async for message in follow(bootstrap, TOPIC, time.time_ns() // 1000 - LOOK_BACK_MICROSECONDS):
        try:
            part = SiteFrames.from_json(message.value or b"")
        except ConfigurationError:
            continue  # read_registry has said or will say it
        if part.version > known.get(part.site, 0):
            return f"version {part.version} of the facility {part.site} is in force; starting again with it"
    raise AssertionError("following a topic does not end")
