"""How far each partition is durable in the lake, for the health record: counted when written, not when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.health import Counted
from broker.standing import Stand
from schemas.message import Message
from sinks.lake.positions import Source


class DurableSoFar:
    """Keep the next offset of each partition, and since when messages of it wait to be written."""

    def __init__(self) -> None:
        self.counted = Counted()
        self._next: dict[Source, int] = {}
        self._waiting: dict[Source, int] = {}

    def begin(self, starts: Mapping[Source, int]) -> None:
        """Begin anew where the tables stand."""
        self._next, self._waiting = dict(starts), {}

    def gather(self, source: Source, messages: Sequence[Message]) -> None:
        """Note messages that were fetched, in log order."""
        if messages:
            self._waiting.setdefault(source, messages[0].appended)

    def write(self, pending: Mapping[Source, Sequence[Message]], rows: Mapping[str, int]) -> None:
        """Note that messages are durable; `rows` counts by topic all that were written since the start."""
        for source, messages in pending.items():
            self.counted.messages(messages)
            self._next[source] = messages[-1].offset + 1
            self._waiting.pop(source, None)
        for topic, count in rows.items():
            self.counted.totals[topic].rows = count

    def stands(self) -> dict[tuple[str, int], Stand]:
        """Return how far each partition is durable."""
        return {(at.topic, at.partition): self._stand(at, position) for at, position in self._next.items()}

    def _stand(self, at: Source, position: int) -> Stand:
        _, appended = self.counted.taken.get((at.topic, at.partition), (None, None))
        return Stand(position, self._waiting.get(at), appended)
