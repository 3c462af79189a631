"""What was fetched before the partitions were placed is of other places: it is dropped, and comes again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from schemas.message import Message
from streams.engine import Engine
from streams.fetch import Fetched
from streams.stage import Shape
from tests.streams.stages import Echo

AT = ("readings", 0)


class Stream:
    """Give out what fetches brought, as Faust's streams do."""

    def __init__(self, *brought):
        self._brought = brought

    def noack(self):
        return self

    async def events(self):
        for fetched in self._brought:
            yield SimpleNamespace(message=SimpleNamespace(value=fetched))


def messages(*offsets):
    return [Message(*AT, offset, 0, b"k", b"v") for offset in offsets]


def taken(*brought):
    """Return the offsets that an engine takes whose partition was placed at 0, the second placing of all."""

    async def take():
        engine = Engine(Echo([AT[0]]), Shape("ingest", 100, 0.1, 0.01), bootstrap="127.0.0.1:1", slot=0)
        engine.reading.assign({AT}, {AT: 0})
        engine._placing = 2
        await engine.ingest(Stream(*brought))
        return engine.reading.take()

    found, jump = asyncio.run(take())
    assert jump is None
    return [message.offset for message in found]


def test_a_fetch_from_the_place_before_is_not_taken_for_a_jump():
    """Fails where it is taken: 2 to 4 pass for messages behind a hole, and 0 and 1 for messages read before."""
    assert taken(Fetched(messages(2, 3, 4), 1), Fetched(messages(0, 1, 2, 3, 4), 2)) == [0, 1, 2, 3, 4]


def test_what_is_fetched_from_the_new_place_is_taken():
    assert taken(Fetched(messages(0, 1), 2), Fetched(messages(2), 2)) == [0, 1, 2]
