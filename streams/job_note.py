"""What a partition's committed place says of jobs: up to which record they were told, and since which second. Pure.

So a worker that begins again knows which records nobody has counted yet, and of which seconds there are windows at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.job_book import Amended, JobBook

MARK = "/"


class JobNote(NamedTuple):
    """Hold the floor of a place, the offset up to which records were heard, and the first second ever told."""

    floor: int | None
    heard: int
    since: int | None

    @classmethod
    def of(cls, note: str, book: JobBook) -> JobNote:
        """Read a note; one that says nothing of jobs was made when nobody told them, and nothing is amended."""
        floor, *jobs = note.split(MARK)
        if not jobs:
            return cls(int(floor) if floor else None, book.heard, None)
        return cls(int(floor), int(jobs[0]), int(jobs[1]))

    def now(self, note: str, floor: int | None, book: JobBook) -> str:
        """Return a stream's own note with what stands now beside it."""
        if not note or floor is None:
            return note
        return MARK.join((note, str(book.heard), str(self.since_or(floor))))

    def since_or(self, floor: int) -> int:
        """Return the first second that was ever told."""
        return floor if self.since is None else self.since

    def unheard(self, book: JobBook) -> list[Amended]:
        """Return what the records changed that were not heard when the note was made."""
        return [each for each in book.amended if each.record > self.heard]


def beyond(amended: Iterable[Amended], first: int, end: int) -> list[tuple[int, int]]:
    """Return the seconds of `[first, end)` that records change."""
    return [
        (max(each.first, first), min(each.end, end)) for each in amended if max(each.first, first) < min(each.end, end)
    ]
