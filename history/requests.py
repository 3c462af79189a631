"""What was asked to be recomputed and is not answered yet, from the log of `recomputations.v1`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from history.recompute import MINUTE, Span
from schemas.errors import RejectedRecordError
from schemas.message import Message
from schemas.recomputation import Answered, Asked, decode

SLICE_MINUTES = 5
"""So much of a long stretch is recomputed before anything else gets its turn: 20 to 25 CPU-s at campus size."""


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
            self.answered(record)
        elif record.first_second < record.end_second:
            self.open[message.offset] = record

    def answered(self, record: Answered) -> None:
        """Close what an answer covers; of what goes on after its end the rest stays open."""
        for offset, asked in list(self.open.items()):
            is_its_site = record.site is None or record.site == asked.site
            if offset >= record.answers or not is_its_site or not record.first_second <= asked.first_second:
                continue
            if asked.end_second <= record.end_second:
                del self.open[offset]
            elif asked.first_second < record.end_second:
                self.open[offset] = msgspec.structs.replace(asked, first_second=record.end_second)


def next_slice(asked: Iterable[Asked], *, oldest: bool) -> tuple[str | None, Span]:
    """Return what to recompute next: of the shortest stretch, or of the `oldest` request's, the first minutes.

    So hours that are asked for at once hold up no second that was late, and it holds them up no longer than itself.
    """
    requests = list(asked)
    stretches = merged(requests)
    site, span = min(stretches, key=lambda each: each[1].end - each[1].first)
    if oldest:
        first = requests[0]
        site, span = next(
            (of, each) for of, each in stretches
            if of in {None, first.site} and each.first <= first.first_second and first.end_second <= each.end
        )  # fmt: skip
    return site, Span(span.first, min(span.end, span.minutes.first + SLICE_MINUTES * MINUTE))


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
