"""Catalogs: fresh within two seconds of a commit, shared, made anew only for a new commit, removed when old."""

from __future__ import annotations

import asyncio
from pathlib import Path

import duckdb

from sinks.sandbox.catalog import FRESH_SECS, GOOD_SECS, Catalogs
from sinks.sql.snapshot import Span
from tests.sql.test_views import append, gpu_row


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rows(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.sql("SELECT count(*) FROM gpu").fetchall()[0][0]


def test_a_commit_is_seen_after_two_seconds_and_without_one_nothing_is_made_anew(tmp_path: Path) -> None:
    append(tmp_path, "gpu", gpu_row())

    async def scene() -> None:
        clock = Clock()
        catalogs = Catalogs(tmp_path, clock)

        async def asked() -> tuple[Path, int]:
            async with catalogs.current(Span()) as catalog:
                return catalog.path, await asyncio.to_thread(rows, catalog.path)

        first, _ = await asked()
        clock.now = FRESH_SECS * 3
        assert await asked() == (first, 1)
        append(tmp_path, "gpu", gpu_row(gpu=4))
        second, count = await asked()
        assert (second != first, count) == (True, 2)
        assert not first.exists()
        clock.now += GOOD_SECS
        assert (await asked())[0] != second
        catalogs.close()
        assert not second.parent.exists()

    asyncio.run(scene())


def test_one_that_is_read_stays_until_it_is_not(tmp_path: Path) -> None:
    append(tmp_path, "gpu", gpu_row())

    async def scene() -> None:
        clock = Clock()
        catalogs = Catalogs(tmp_path, clock)
        async with catalogs.current(Span()) as old:
            append(tmp_path, "gpu", gpu_row(gpu=4))
            clock.now = FRESH_SECS
            async with catalogs.current(Span()) as new:
                assert new.path != old.path
            assert await asyncio.to_thread(rows, old.path) == 1
        assert not old.path.exists()
        catalogs.close()

    asyncio.run(scene())
