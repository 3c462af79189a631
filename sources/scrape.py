"""The scraper: asks many exporters on whole seconds, each at its own pace, and publishes what they answer.

Nobody waits for anybody: every target has a task of its own and one request under way at most, so a slow
one skips seconds and a dead one is silent. Silence is not zero: no row is sent for what did not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import NamedTuple

import aiohttp
import polars as pl

from schemas.gpu import GPU
from schemas.registry import Registry
from sources.amd import AMD
from sources.clock import Clock
from sources.dcgm import DCGM
from sources.exporter import readings
from sources.targets import Target

LARGEST_ANSWER_BYTES = 4_194_304
TOGETHER_SECS = 0.05
"""How long the first answer of a moment waits for others, so that they are parsed and sent together."""

Publish = Callable[[pl.DataFrame], Awaitable[object]]
Say = Callable[[str], None]


class Answer(NamedTuple):
    """Hold what one target answered; `time` is UTC µs, when the answer had come whole."""

    target: int
    time: int
    text: str


@dataclass
class Health:
    """Know which targets are silent, and say it once when one falls silent and once when it is back."""

    targets: Sequence[Target]
    say: Say
    silent_since: dict[int, float] = field(default_factory=dict)

    def failed(self, target: int, now: float, reason: str) -> None:
        """Note that a target did not give readings."""
        if target not in self.silent_since:
            self.silent_since[target] = now
            self.say(f"{self.targets[target]} is silent: {reason}")

    def answered(self, target: int, now: float) -> None:
        """Note that a target gave readings."""
        since = self.silent_since.pop(target, None)
        if since is not None:
            self.say(f"{self.targets[target]} answers again after {now - since:.0f} s")


class Scraper:
    """Scrape `targets` every `every_secs` on whole multiples of it, until cancelled.

    `publish` gets frames of GPU readings; `say` one sentence when a target falls silent or is back.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        registry: Registry,
        publish: Publish,
        *,
        every_secs: float = 1.0,
        timeout_secs: float = 5.0,
        say: Say = print,
        clock: Clock | None = None,
    ) -> None:
        self.targets = targets
        self.health = Health(targets, say)
        self._publish = publish
        self._every_secs = every_secs
        self._timeout = aiohttp.ClientTimeout(total=timeout_secs)
        self._clock = clock or Clock.wall()
        self._places = _places(targets, registry)
        self._slots = registry.slots.select("node", "gpu", "vendor", "model")
        self._answers: asyncio.Queue[Answer] = asyncio.Queue(maxsize=4 * len(targets))

    async def run(self) -> None:
        """Scrape and publish until cancelled; what publishing raises ends it."""
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}
        session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, headers=headers)
        async with session, asyncio.TaskGroup() as tasks:
            for index in range(len(self.targets)):
                tasks.create_task(self._watch(session, index))
            tasks.create_task(self._send_answers())

    async def _watch(self, session: aiohttp.ClientSession, index: int) -> None:
        while True:
            await self._clock.sleep(self._until_next_tick())
            try:
                text = await _fetch(session, self.targets[index].url)
            except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
                self.health.failed(index, self._clock.now(), _reason(error))
            else:
                await self._answers.put(Answer(index, round(self._clock.now() * 1e6), text))

    def _until_next_tick(self) -> float:
        """Return the seconds to the next whole multiple; a timer that rings a trifle early skips none."""
        now, every = self._clock.now(), self._every_secs
        return (floor(now / every + 0.05) + 1) * every - now

    async def _send_answers(self) -> None:
        while True:
            answers = [await self._answers.get()]
            await self._clock.sleep(TOGETHER_SECS)
            while not self._answers.empty():
                answers.append(self._answers.get_nowait())
            rows = self._rows(answers)
            self._note(answers, rows)
            await self._publish(rows.select(GPU.polars.keys()))

    def _rows(self, answers: Sequence[Answer]) -> pl.DataFrame:
        """Return GPU readings with `answer`, by rack; the frame holds the columns of GPU."""
        texts = [answer.text for answer in answers]
        found = pl.concat([readings(texts, exporter) for exporter in (DCGM, AMD)])
        asked = pl.DataFrame(
            {
                "answer": range(len(answers)),
                "target": [answer.target for answer in answers],
                "answered": [answer.time for answer in answers],
            },
            schema={"answer": pl.UInt32, "target": pl.Int32, "answered": pl.Int64},
        ).join(self._places, on="target")
        return (
            found.join(asked, on="answer")
            .join(self._slots, on=["node", "gpu"], how="left")
            .with_columns(
                time=pl.coalesce(pl.col("stamp_ms") * 1000, "answered").cast(pl.Datetime("us")),
                interval_seconds=pl.lit(self._every_secs, pl.Float32),
                averaging=pl.lit(None, pl.Int8),
            )
            .sort("rack", "time", "node", "gpu", "instance")
        )

    def _note(self, answers: Sequence[Answer], rows: pl.DataFrame) -> None:
        with_rows = set(rows["answer"])
        for index, answer in enumerate(answers):
            if index in with_rows:
                self.health.answered(answer.target, self._clock.now())
            else:
                self.health.failed(answer.target, self._clock.now(), "it answered, but with no metric of a GPU")


async def _fetch(session: aiohttp.ClientSession, url: str) -> str:
    """Return the text of an answer; ValueError says what is wrong with one that cannot be taken."""
    async with session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError(f"HTTP status {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_chunked(65_536):
            body += chunk
            if len(body) > LARGEST_ANSWER_BYTES:
                raise ValueError(f"its answer is larger than {LARGEST_ANSWER_BYTES:,} bytes")
    return body.decode("utf-8", errors="replace")


def _reason(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


def _places(targets: Sequence[Target], registry: Registry) -> pl.DataFrame:
    paths = pl.DataFrame(
        {"target": range(len(targets)), "path": [target.node for target in targets]},
        schema={"target": pl.Int32, "path": pl.String},
    )
    return paths.join(registry.nodes.select("path", "rack", "node"), on="path").drop("path")
