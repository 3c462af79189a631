"""What a writer has gathered and not yet written: messages by partition, without gaps; no clock, no Kafka."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.message import Message
from schemas.refused_batch import first_offset
from sinks.lake.positions import Source


class GapError(Exception):
    """Tell that a partition went on behind the offset that is next."""

    def __init__(self, source: Source, expected: int, found: int) -> None:
        super().__init__(f"{source}: offset {expected} is next and the client went on at {found}")
        self.source = source
        self.expected = expected


class Gathered:
    """Gather messages of partitions in the order of their logs."""

    def __init__(self, compacted: frozenset[str]) -> None:
        self._compacted = compacted
        self._next: dict[Source, int] = {}
        self._pending: dict[Source, list[Message]] = {}
        self.bytes = 0
        self.since: float | None = None

    def begin(self, starts: Mapping[Source, int]) -> None:
        """Forget everything and expect each partition at its offset."""
        self._next = dict(starts)
        self.take()

    def add(self, source: Source, messages: Sequence[Message], now: float) -> None:
        """Add what came at the monotonic time `now`; offsets below the next are known already and left out.

        Raises GapError for offsets that are missing, except on compacted topics, which have holes by design,
        and except where a message stands for the batch that held them.
        """
        new = [message for message in messages if message.offset >= self._next[source]]
        self._refuse_gaps(source, new)
        if not new:
            return
        if self.since is None:
            self.since = now
        self._pending.setdefault(source, []).extend(new)
        self.bytes += sum(len(message.value or b"") for message in new)
        self._next[source] = new[-1].offset + 1

    def is_due(self, now: float, flush_secs: float, flush_bytes: int) -> bool:
        """Tell whether the oldest message has waited long enough, or enough has come."""
        return self.since is not None and (now - self.since >= flush_secs or self.bytes >= flush_bytes)

    def take(self) -> dict[Source, list[Message]]:
        """Return what was gathered and begin anew behind it."""
        pending, self._pending = self._pending, {}
        self.bytes, self.since = 0, None
        return pending

    def _refuse_gaps(self, source: Source, messages: Sequence[Message]) -> None:
        expected = self._next[source]
        if source.topic in self._compacted or not messages:
            return
        if messages[0].offset == expected and messages[-1].offset == expected + len(messages) - 1:
            return
        for message in messages:
            begins = first_offset(message.offset, message.headers)
            if begins > expected:
                raise GapError(source, expected, begins)
            expected = message.offset + 1
