"""What one app makes of its messages, as the engine sees it; and how each app runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from schemas.message import Message
from streams.reading import Partition

if TYPE_CHECKING:
    from streams.engine import Engine


class Place(NamedTuple):
    """Say where to read on: the next offset, and the note that was committed with it ("" = none)."""

    offset: int
    note: str = ""


class Stage(Protocol):
    """What one app makes of its messages. The engine calls one method at a time, never two at once."""

    topics: tuple[str, ...]
    """The topics that it reads."""
    writes: tuple[str, ...]
    """The topics beside them that it writes or hears all of; they must exist before it starts."""

    async def open(self, engine: Engine) -> None:
        """Get ready: producers, registry, snapshot. The broker answers and all `topics` exist."""

    async def assigned(self, committed: Mapping[Partition, Place | None]) -> Mapping[Partition, int]:
        """Return where to read the newly assigned partitions; those left out are read from Kafka's place.

        `committed` names every new partition; None = nothing was committed: read from the log's start.
        """

    async def dropped(self, partition: Partition, offset: int | None) -> None:
        """Forget a partition: it was revoked (`offset` None), or its log goes on at `offset` after a loss."""

    async def drain(self, messages: list[Message]) -> Mapping[Partition, Place]:
        """Take what has come, in log order by partition, and return the places that may be committed.

        Called at least every `hold_secs`, with an empty list where nothing came. What is returned is
        committed at most once a second, so it must be durable when this returns.
        """

    def ready(self, newest: Mapping[Partition, int]) -> int:
        """Return of how many partitions a drain would tell something that somebody waits for.

        `newest`: of each partition of which messages wait, when the newest was appended, UTC µs.
        """

    def due_at(self) -> float:
        """Return when, in UTC s, the next fetch may bring something that somebody waits for; 0 = at any time."""

    async def close(self) -> None:
        """Let go; called on SIGTERM, after the last drain."""


@dataclass(frozen=True)
class Shape:
    """Say how an app runs; `fetch_wait_ms` and `drain_secs` as measured in traps.md 13.

    `drain_secs`: how long a drain waits for a fetch · `burst_secs`: and for the rest of what it brings ·
    `hold_secs`: how long what nobody waits for may lie · `has_lease`: one member runs in the whole cluster of Kafka,
    others stand by, on other machines too · `counts_partitions`: it waits for all that there are, so it must know them.
    """

    app: str
    fetch_wait_ms: int
    drain_secs: float
    burst_secs: float
    hold_secs: float = 0.0
    session_secs: float = 6.0
    has_lease: bool = False
    counts_partitions: bool = False

    def of(self, group: str) -> Shape:
        """Return the shape of the same app in another group: "" is the first, "b" the second."""
        return replace(self, app=f"{self.app}-{group}") if group else self


ROLL_UP = Shape("roll-up", fetch_wait_ms=100, drain_secs=0.1, burst_secs=0.01, hold_secs=0.5)
EVALUATE = Shape(
    "evaluate", fetch_wait_ms=50, drain_secs=0.05, burst_secs=0.025, has_lease=True, counts_partitions=True
)
