"""A log that no longer holds what a table needs next: the writer halts, with what is lost and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from broker.embedded import EmbeddedKafka
from schemas.errors import DataLossError
from sinks.lake.log_reader import read_ends
from tests.lake.progress_log import SOURCE, TOPIC, delete_before, make_anew, send, steps_of, write_to_the_end

pytestmark = pytest.mark.kafka


async def shorter(bootstrap: str) -> None:
    await make_anew(bootstrap)
    await send(bootstrap, range(100, 102))


async def longer(bootstrap: str) -> None:
    await make_anew(bootstrap)
    await send(bootstrap, range(100, 109))


async def cut_by_retention(bootstrap: str) -> None:
    await send(bootstrap, range(5, 9))
    ends = await read_ends(bootstrap, [SOURCE])
    await delete_before(bootstrap, ends[SOURCE] - 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (shorter, "the log ends at 2: the topic was re-created"),
        (longer, "the topic was re-created and has grown past the position"),
        (cut_by_retention, "3 messages after .* were deleted by retention before they were written"),
    ],
)
def test_a_log_that_lost_rows_halts_the_writer(
    progress_kafka: EmbeddedKafka, tmp_path: Path, change: Callable[[str], Awaitable[None]], said: str
) -> None:
    lake, bootstrap = tmp_path / "lake", progress_kafka.bootstrap

    async def scenario() -> None:
        await make_anew(bootstrap)
        await send(bootstrap, range(5))
        await write_to_the_end(bootstrap, lake)
        await change(bootstrap)
        with pytest.raises(DataLossError, match=said) as raised:
            await asyncio.wait_for(write_to_the_end(bootstrap, lake), 30)
        assert str(raised.value).startswith(f"table progress, {TOPIC}/0: ")

    asyncio.run(scenario())
    assert steps_of(lake) == list(range(5))


def test_a_log_whose_old_records_are_gone_but_written_goes_on(progress_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    lake, bootstrap = tmp_path / "lake", progress_kafka.bootstrap

    async def scenario() -> None:
        await make_anew(bootstrap)
        await send(bootstrap, range(5))
        await write_to_the_end(bootstrap, lake)
        await delete_before(bootstrap, 5)
        await send(bootstrap, range(5, 8))
        await write_to_the_end(bootstrap, lake)

    asyncio.run(scenario())
    assert steps_of(lake) == list(range(8))
