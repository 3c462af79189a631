"""What was asked to be recomputed and is not answered yet, from the log of `recomputations.v1`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from history.recompute import MINUTE, Span
from schemas.errors import RejectedRecordError
from schemas.message import Message
from schemas.recomputation import Answered, Asked, decode


class Requests:
    """Keep the open requests by their offset."""

    def __init__(self) -> None:
        self.open: dict[int, Asked] = {}
        self._next_offset = 0

    def take(self, message: Message) -> None:
        """Take one message in log order; what is no record, or was taken before, is passed over."""
        if message.offset < self._next_offset:
            return
        self._next_offset = message.offset + 1
        try:
            record = decode(message)
        except RejectedRecordError:
            return
        if isinstance(record, Answered):
            self.open = {offset: asked for offset, asked in self.open.items() if offset >= record.answers}
        elif record.first_second < record.end_second:
            self.open[message.offset] = record


def merged(asked: Iterable[Asked]) -> list[tuple[str | None, Span]]:
    """Return the stretches that requests come to, of each site those together that share or touch minutes.

    A request for every site takes in those for one of them.
    """
    by_site: dict[str | None, list[Span]] = {}
    requests = list(asked)
    for_all = [each for each in requests if each.site is None]
    for each in requests:
        if each.site is not None and any(_holds(other, each) for other in for_all):
            continue
        by_site.setdefault(each.site, []).append(Span(each.first_second, each.end_second))
    return [(site, span) for site, spans in by_site.items() for span in _joined(spans)]


def _holds(other: Asked, asked: Asked) -> bool:
    return other.first_second <= asked.first_second and asked.end_second <= other.end_second


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.first // MINUTE * MINUTE <= joined[-1].minutes.end:
            joined[-1] = Span(joined[-1].first, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined
