"""A question over HTTP from its token to its answer: turn, snapshot, cage, count and audit."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from schemas.errors import ConfigurationError, WattlineError
from sinks.sandbox import cage
from sinks.sandbox.catalog import Catalogs
from sinks.sandbox.keeper import Answer, Keeper, Reason
from sinks.sandbox.limits import Limits
from sinks.sandbox.order import Format, Order
from sinks.sandbox.turns import Turns
from sinks.sql.snapshot import Span
from web.access import Rate
from web.audit import Audit
from web.tokens import TokenFile

REASONS: tuple[Reason, ...] = (
    "answered",
    "refused",
    "too_slow",
    "out_of_memory",
    "spilled_too_much",
    "too_long",
    "failed",
)
log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """Hold one question; `name` is whose token came with it."""

    name: str
    query: str
    form: Format
    span: Span


class Answered(NamedTuple):
    """Hold an answer, and a sentence about rows that the lake lacks, where it lacks some."""

    answer: Answer
    note: str | None


class Asking:
    """Answer questions, two at a time, each in a cage of its own; `off` says why none can be answered.

    `ended` counts how questions ended by reason. For one event loop.
    """

    def __init__(self, lake: Path, tokens: TokenFile, audit: Audit, limits: Limits | None = None) -> None:
        self.tokens = tokens
        self.audit = audit
        self.rate = Rate()
        self.limits = limits or Limits()
        self.turns = Turns()
        self.ended: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.off = ""
        self._lake = lake.resolve()
        self._catalogs: Catalogs
        self._keeper: Keeper
        self._tried = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Be there for the block: try a cage in the background, and leave nothing behind."""
        self._catalogs, self._keeper = Catalogs(self._lake), Keeper()
        trying = asyncio.create_task(self._try())
        try:
            yield
        finally:
            trying.cancel()
            self._keeper.stop()
            self._catalogs.close()
            self.audit.close()

    async def answer(self, asked: Asked) -> Answered:
        """Answer one question.

        Raises ConfigurationError where questions are off or there is no lake, UnavailableError where too many wait.
        """
        await self._tried.wait()
        if self.off:
            raise ConfigurationError(self.off)
        async with (
            self.turns.turn(asked.name),
            self._catalogs.current(asked.span) as catalog,
            self._keeper.folder() as spill,
        ):
            said = {"taken": catalog.taken.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
            said |= {"note": catalog.note} if catalog.note else {}
            paths = (str(self._lake), str(catalog.path), str(spill))
            answer = await self._keeper.ask(Order(asked.query, asked.form, *paths, self.limits, said))
        self.ended[answer.reason] += 1
        return Answered(answer, catalog.note)

    async def _try(self) -> None:
        """Find out whether this machine has what a cage needs, and whether one holds."""
        try:
            self.off = await self._found()
        except WattlineError as error:
            self.off = f"SQL over HTTP is off: {error}"
        if self.off:
            log.warning(self.off)
        self._tried.set()

    async def _found(self) -> str:
        cage.refuse_without()
        await self._keeper.start()
        async with self._catalogs.empty() as catalog:
            said = await self._keeper.probe(catalog.parent, catalog)
        return said and f"SQL over HTTP is off: {said}"
