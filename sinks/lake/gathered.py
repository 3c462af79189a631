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

        Raises GapError for offsets that are missing, once all before them is added; except on compacted topics,
        which have holes by design, and except where a message stands for the batch that held them.
        """
        new = [message for message in messages if message.offset >= self._next[source]]
        gap = self._first_gap(source, new)
        if whole := new if gap is None else new[: gap[0]]:
            self.since = now if self.since is None else self.since
            self._pending.setdefault(source, []).extend(whole)
            self.bytes += sum(len(message.value or b"") for message in whole)
            self._next[source] = whole[-1].offset + 1
        if gap is not None:
            raise gap[1]

    def is_due(self, now: float, flush_secs: float, flush_bytes: int) -> bool:
        """Tell whether the oldest message has waited long enough, or enough has come."""
        return self.since is not None and (now - self.since >= flush_secs or self.bytes >= flush_bytes)

    def take(self) -> dict[Source, list[Message]]:
        """Return what was gathered and begin anew behind it."""
        pending, self._pending = self._pending, {}
        self.bytes, self.since = 0, None
        return pending

    def _first_gap(self, source: Source, messages: Sequence[Message]) -> tuple[int, GapError] | None:
        """Return how many messages come before the first offsets that are missing, and what to raise for these."""
        expected = self._next[source]
        if source.topic in self._compacted or not messages:
            return None
        if messages[0].offset == expected and messages[-1].offset == expected + len(messages) - 1:
            return None
        for index, message in enumerate(messages):
            begins = first_offset(message.offset, message.headers)
            if begins > expected:
                return index, GapError(source, expected, begins)
            expected = message.offset + 1
        return None
