"""Tenure: which GPUs one job has in which seconds, by one of its records. Pure.

A job has a GPU in a second where it runs on it at the second's first instant, so of two jobs that follow
each other on a GPU each second belongs to one. Seconds here are whole ones.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.job import Allocation, Job, Placed, job_subject
from schemas.place import Places
from schemas.subject import GPUS_A_NODE, SubjectKind
from schemas.time import EPOCH
from schemas.timeline import EVER, FOREVER, SECOND
from streams.gpu_slots import GpuSlots

Int64s = NDArray[np.int64]
Name = tuple[str, str]
"""Site and name of a job."""

NOTHING = 0
"""The coverage of a second in which a job has no GPU."""
_FIRST, _END = EVER // SECOND, FOREVER // SECOND


class Share(NamedTuple):
    """The GPUs `gpu_first` to `gpu_last` of a node in the seconds `[first, end)`.

    `node` is its id, `named` how the record names it: a path where there is one, which outlives a change of ids.
    """

    first: int
    end: int
    node: int
    gpu_first: int
    gpu_last: int
    named: str


@dataclass(frozen=True)
class Tenure:
    """Hold what a job has by one record; `record` is that record's offset + 1 on `telemetry.jobs.v1`."""

    name: Name
    subject: int
    record: int
    shares: tuple[Share, ...]

    @classmethod
    def of(cls, placed: Placed[Job]) -> Tenure:
        """Read what a decoded record says; a job or part that has not started has nothing."""
        job = placed.record
        shares = [_share(job, part) for part in job.allocations]
        kept = tuple(sorted(share for share in shares if share.first < share.end))
        return cls((job.site, job.job), job_subject(job.site, job.job), placed.message.offset + 1, kept)

    @cached_property
    def bounds(self) -> tuple[int, ...]:
        """Return the seconds at which what the job has may change, ascending."""
        return tuple(sorted({each for share in self.shares for each in (share.first, share.end)}))

    @cached_property
    def table(self) -> Int64s:
        """Return the shares as rows (first, end, node, gpu_first, gpu_last)."""
        return np.array([share[:5] for share in self.shares], np.int64).reshape(-1, 5)

    @cached_property
    def _coverages(self) -> dict[int, int]:
        return {}

    def part(self, second: int) -> int:
        """Return in which of the stretches between its bounds a second lies: in all of it the job has the same."""
        return bisect_right(self.bounds, second)

    def coverage(self, second: int) -> int:
        """Return a hash of what the job has in a second, NOTHING where it has none."""
        part = self.part(second)
        if part not in self._coverages:
            self._coverages[part] = coverage_of(self.shares_in(second))
        return self._coverages[part]

    def shares_in(self, second: int) -> Iterator[Share]:
        """Yield what the job has in a second."""
        return (share for share in self.shares if share.first <= second < share.end)

    def gpus(self, second: int, slots: GpuSlots) -> Int64s:
        """Return the slots of the GPUs that the job has in a second, ascending, each once."""
        first, end, node, low, high = self.table.T
        high = np.minimum(high, slots.widest - 1)
        here = (first <= second) & (second < end) & (node >= 0) & (low <= high)
        here &= node < len(slots.slot_at) // slots.widest
        node, low, counts = node[here], low[here], (high - low + 1)[here]
        starts = np.cumsum(counts) - counts
        at = np.repeat(node * slots.widest + low - starts, counts) + np.arange(int(counts.sum()))
        slot = slots.slot_at[at].astype(np.int64)
        return np.unique(slot[slot >= 0])

    def known_in(self, places: Places) -> Tenure:
        """Return the tenure with the ids of nodes that were registered since the record was read."""
        if all(share.node >= 0 for share in self.shares):
            return self
        return Tenure(self.name, self.subject, self.record, tuple(_found(share, places) for share in self.shares))


def coverage_of(shares: Iterable[Share]) -> int:
    """Return the hash of shares of one second as a signed 64-bit integer; of overlapping ones the union counts."""
    words = sorted({(share.named, share.gpu_first, share.gpu_last) for share in shares})
    if not words:
        return NOTHING
    return int.from_bytes(blake2b(repr(words).encode(), digest_size=8).digest(), "little", signed=True) or 1


def differing(before: Tenure | None, after: Tenure) -> list[tuple[int, int]]:
    """Return the stretches of seconds `[first, end)` in which a job has other GPUs by a later record."""
    bounds = sorted({*(before.bounds if before else ()), *after.bounds})
    found: list[tuple[int, int]] = []
    for first, end in pairwise(bounds):
        if (before.coverage(first) if before else NOTHING) == after.coverage(first):
            continue
        if found and found[-1][1] == first:
            found[-1] = (found[-1][0], end)
        else:
            found.append((first, end))
    return found


def _share(job: Job, part: Allocation) -> Share:
    started = part.started or job.started
    first = _END if started is None else _whole(started)
    ended = [_whole(each) for each in (part.ended, job.ended) if each is not None]
    gpu_first = 0 if part.gpu_first is None else part.gpu_first
    gpu_last = GPUS_A_NODE - 1 if part.gpu_last is None else part.gpu_last
    return Share(first, min(ended, default=_END), int(part.node), gpu_first, gpu_last, part.path or str(part.node))


def _whole(at: datetime) -> int:
    """Return the first second that begins at or after a time."""
    return -(-((at - EPOCH) // timedelta(microseconds=1)) // SECOND)


def _found(share: Share, places: Places) -> Share:
    known = None if share.node >= 0 else places.id_of(SubjectKind.NODE, share.named)
    return share if known is None else share._replace(node=known)
