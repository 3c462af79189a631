"""The facility on Kafka: publish a version, read the one in force."""

from __future__ import annotations

from datetime import datetime

from schemas.facility import Facility
from schemas.registry import Registry


async def publish(bootstrap: str, facility: Facility, effective_from: datetime | None = None) -> Registry:
    """Give ids to `facility` and send one message a site to `facility.v1`; return all sites in force.

    Nothing is sent where nothing changed. `effective_from` defaults to the next whole second.
    """
    raise NotImplementedError


async def read_registry(bootstrap: str) -> Registry:
    """Return the newest version of every site; raise ConfigurationError where none was published."""
    raise NotImplementedError
