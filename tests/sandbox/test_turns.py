"""Turns: two at a time, one of each person, a queue that ends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from schemas.errors import UnavailableError
from sinks.sandbox import turns
from sinks.sandbox.turns import Turns


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _asking(given: Turns, name: str, log: list[str], until: asyncio.Event) -> asyncio.Task[None]:
    async def ask() -> None:
        async with given.turn(name):
            log.append(name)
            await until.wait()

    return asyncio.create_task(ask())


def test_who_asks_much_leaves_a_turn_to_others() -> None:
    async def scene() -> list[str]:
        given, log, until = Turns(), [], asyncio.Event()
        tasks = [_asking(given, name, log, until) for name in ("anna", "anna", "anna", "omar")]
        await _settled()
        seen = list(log)
        assert (given.running.total(), given.queued) == (2, 2)
        until.set()
        await asyncio.gather(*tasks)
        assert (given.running.total(), given.queued) == (0, 0)
        assert log == ["anna", "omar", "anna", "anna"]
        return seen

    assert asyncio.run(scene()) == ["anna", "omar"]


def test_a_third_person_waits_for_the_first_turn_that_is_free() -> None:
    async def scene() -> None:
        given, log = Turns(), []
        ends = {name: asyncio.Event() for name in ("a", "b", "c")}
        tasks = [_asking(given, name, log, until) for name, until in ends.items()]
        await _settled()
        assert log == ["a", "b"]
        ends["b"].set()
        await _settled()
        assert log == ["a", "b", "c"]
        for until in ends.values():
            until.set()
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    async def scene() -> None:
        async with AsyncExitStack() as stack:
            given, log, until = Turns(), [], asyncio.Event()
            tasks = [_asking(given, f"user{n}", log, until) for n in range(2 + turns.MOST_WAITING)]
            await _settled()
            with pytest.raises(UnavailableError, match="8 queries wait already") as refused:
                await stack.enter_async_context(given.turn("late"))
            assert refused.value.retry_after_secs >= 1
            until.set()
            await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_one_person_cannot_fill_the_queue() -> None:
    async def scene() -> None:
        given, log, until = Turns(), [], asyncio.Event()
        tasks = [_asking(given, "anna", log, until) for _ in range(1 + turns.MOST_WAITING_OF_ONE)]
        await _settled()
        with pytest.raises(UnavailableError, match="4 of yours"):
            async with given.turn("anna"):
                pass
        tasks.append(_asking(given, "omar", log, until))
        await _settled()
        assert log == ["anna", "omar"]
        until.set()
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_who_leaves_or_loses_patience_leaves_no_place_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        given, log, until = Turns(at_once=1), [], asyncio.Event()
        first, second = (_asking(given, name, log, until) for name in ("a", "b"))
        await _settled()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert given.queued == 0
        monkeypatch.setattr(turns, "PATIENCE_SECS", 0.01)
        with pytest.raises(UnavailableError, match="no turn within"):
            async with given.turn("c"):
                pass
        assert given.queued == 0
        until.set()
        await first
        async with given.turn("d"):
            assert given.running.total() == 1

    asyncio.run(scene())
