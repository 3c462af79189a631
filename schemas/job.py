"""Jobs and what they produced: JSON on `telemetry.jobs.v1` (compacted by job) and `telemetry.progress.v1`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""The name of a job, site, user or account: 1 to 128 characters, no control characters."""

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Slot = Annotated[int, msgspec.Meta(ge=0, le=1023)]
Watts = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its zone; JSON carries ISO 8601, and whole µs since 1970 UTC are read too."""

Workload = Literal["training", "image", "video", "interactive", "other"]

PathOrId = int | str
"""A place or device: a path as sent, a registry id once decoded."""


class Allocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Give a job the GPUs `gpu_first` to `gpu_last`, both included, of one node.

    Once decoded `node` is the registry's id (negative where unregistered) and `path` the node's path,
    None where an id was sent that the registry does not know.
    """

    node: PathOrId
    gpu_first: Slot
    gpu_last: Slot
    path: str | None = None


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Say that a meter measured for the job in `[started, ended]`, from its own start to its own stop marker.

    Once decoded `meter` is the registry's id and `path` its path, as in Allocation.
    """

    meter: PathOrId
    started: Moment
    ended: Moment
    path: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Describe one job as last heard; a later record of the same job amends it. None = not said."""

    job: Name
    site: Name
    user: Name | None = None
    account: Name | None = None
    workload: Workload | None = None
    state: Word | None = None
    submitted: Moment | None = None
    started: Moment | None = None
    ended: Moment | None = None
    priority: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    floor_watts: Watts | None = None
    allocations: list[Allocation] = []
    measured: list[Measured] = []


class Progress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Say how much a job had produced at `time`, as counters since its start. None = not counted."""

    time: Moment
    job: Name
    images: Count | None = None
    video_seconds: Seconds | None = None
    tokens: Count | None = None
    steps: Count | None = None


def encode(record: Job | Progress) -> bytes:
    """Return one record as JSON; the Kafka key of both is the job's name."""
    return msgspec.json.encode(record)
