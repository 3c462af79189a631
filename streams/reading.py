"""What was read and not yet drained, and the next offset of each partition. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from broker.standing import Partition, Stand
from schemas.message import Message

__all__ = ["Jump", "Partition", "Progress", "Reading"]


class Jump(NamedTuple):
    """Say that `message` came where another offset of its partition was expected."""

    message: Message
    expected: int


class Reading:
    """Keep messages in the order of their logs; skip what was read, notice what is missing."""

    def __init__(self) -> None:
        self.assigned: set[Partition] = set()
        self.next: dict[Partition, int] = {}
        self.pending: list[Message] = []
        self._pending_bytes = 0
        self._jumps: list[Jump] = []

    def assign(self, assigned: set[Partition], starts: Mapping[Partition, int]) -> None:
        """Begin the partitions that are new at `starts`, keep those that return, forget the others.

        A partition without a start begins wherever its first message lies.
        """
        for gone in self.assigned - assigned:
            self.next.pop(gone, None)
        for new in assigned - self.assigned:
            if new in starts:
                self.next[new] = starts[new]
        self.assigned = set(assigned)
        self.pending = [message for message in self.pending if (message.topic, message.partition) in assigned]
        self._jumps = [jump for jump in self._jumps if (jump.message.topic, jump.message.partition) in assigned]
        self._pending_bytes = sum(len(message.value or b"") for message in self.pending)

    def is_behind(self, message: Message) -> bool:
        """Tell whether the message lies before the next one expected of its partition."""
        return message.offset < self.next.get((message.topic, message.partition), message.offset)

    def append(self, message: Message) -> None:
        """Take one message of an assigned partition; remember it as a jump where it is not the next one."""
        partition = (message.topic, message.partition)
        if partition not in self.assigned:
            return
        expected = self.next.get(partition, message.offset)
        if message.offset != expected:
            self._jumps.append(Jump(message, expected))
        self.next[partition] = message.offset + 1
        self.pending.append(message)
        self._pending_bytes += len(message.value or b"")

    def is_full(self, messages: int, size: int) -> bool:
        """Tell whether more is pending than may be held in memory."""
        return len(self.pending) > messages or self._pending_bytes > size

    @property
    def newest(self) -> dict[Partition, int]:
        """Return when the newest pending message of each partition that has any was appended, UTC µs."""
        return {(message.topic, message.partition): message.appended for message in self.pending}

    def stands(self, taken: Mapping[Partition, tuple[int, int]]) -> dict[Partition, Stand]:
        """Return how far each partition is taken in; `taken` is offset and append time of the last message."""
        oldest: dict[Partition, Message] = {}
        for message in self.pending:
            oldest.setdefault((message.topic, message.partition), message)
        return {at: self._stand(at, oldest.get(at), taken.get(at)) for at in self.assigned}

    def _stand(self, at: Partition, waiting: Message | None, taken: tuple[int, int] | None) -> Stand:
        position = waiting.offset if waiting else self.next.get(at)
        return Stand(position, waiting and waiting.appended, taken and taken[1])

    def lag_secs(self, now: float) -> float:
        """Return how long ago what is pending was appended, by its newest message; 0 where nothing is."""
        return now - self.pending[-1].appended / 1e6 if self.pending else 0.0

    def take(self) -> tuple[list[Message], Jump | None]:
        """Return and forget what is pending up to the first jump, and that jump."""
        jump = self._jumps.pop(0) if self._jumps else None
        end = len(self.pending) if jump is None else self.pending.index(jump.message)
        taken, self.pending = self.pending[:end], self.pending[end:]
        self._pending_bytes = sum(len(message.value or b"") for message in self.pending)
        return taken, jump

    def take_of(self, topic: str) -> list[Message]:
        """Return and forget what is pending of one topic; nothing while there is a jump, which must be told first."""
        taken = [] if self._jumps else [message for message in self.pending if message.topic == topic]
        if taken:
            self.pending = [message for message in self.pending if message.topic != topic]
            self._pending_bytes -= sum(len(message.value or b"") for message in taken)
        return taken


class Heard:
    """Remember since when each partition is heard of without a gap."""

    def __init__(self, gap_secs: float = 1.5, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_secs = gap_secs
        self._clock = clock
        self._since: dict[Partition, float] = {}
        self._asked = clock()

    def for_secs(self, heard: Collection[Partition], secs: float) -> set[Partition]:
        """Return those of `heard` that were in it at every call for so long; a long time without a call is a gap."""
        now = self._clock()
        if now - self._asked > self._gap_secs:
            self._since.clear()
        self._asked = now
        self._since = {at: self._since.get(at, now) for at in heard}
        return {at for at, since in self._since.items() if now - since >= secs}


class Progress:
    """Notice partitions whose log has more while nothing of it comes."""

    def __init__(self, stuck_after_secs: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stuck_after_secs = stuck_after_secs
        self._clock = clock
        self._moved: dict[Partition, tuple[int, float]] = {}

    def stuck(self, positions: Mapping[Partition, int], log_ends: Mapping[Partition, int]) -> str:
        """Return a partition that has stood still below its log's end for too long, as topic/partition, or ""."""
        now = self._clock()
        for at, end in log_ends.items():
            position = positions.get(at, 0)
            seen, since = self._moved.get(at, (-1, now))
            if position >= end or position != seen:
                self._moved[at] = (position, now)
            elif now - since > self._stuck_after_secs:
                return f"{at[0]}/{at[1]}"
        return ""
