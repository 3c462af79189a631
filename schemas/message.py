"""One Kafka message as every decoder sees it, whichever client fetched it."""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """Carry one message with its place in the log; `appended` is Kafka's append time in UTC µs."""

    topic: str
    partition: int
    offset: int
    appended: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    def header(self, name: str) -> bytes | None:
        """Return the first header called `name`, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def place(self) -> str:
        """Return topic/partition/offset, as every error message names it."""
        return f"{self.topic}/{self.partition}/{self.offset}"
