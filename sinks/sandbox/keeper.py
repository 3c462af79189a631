"""Ask a question in a cage and watch over it from outside: time, memory, what it spills, and how long its answer is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from sinks.sandbox import cage, order
from sinks.sandbox.forker import ENTRY, Forker, Running
from sinks.sandbox.limits import Limits
from sinks.sandbox.order import END, Ended, Frames, Order

LOOK_EVERY_SECS = 0.02
SPILL_EVERY_LOOKS = 5
MOST_SPILLED_FILES = 1_000
TOO_LONG = 2
"""A row may be longer than what an answer is cut at: it ends where it is longer than so many times that."""

Reason = Literal["answered", "refused", "out_of_memory", "too_slow", "spilled_too_much", "too_long", "failed"]


class Answer(NamedTuple):
    """Hold how a question ended: the bytes of its answer, whole where it was answered, else a sentence why not."""

    reason: Reason
    message: str
    body: bytes = b""
    rows: int = 0
    truncated: bool = False
    elapsed_seconds: float = 0.0
    most_memory_bytes: int = 0


class Keeper:
    """Run orders, each in a process of its own that is gone when its answer is there. For one event loop."""

    def __init__(self, entry: str = ENTRY) -> None:
        self.spill = Path(tempfile.mkdtemp(prefix="wattline-spill-"))
        # The cage's user reaches its own folder below, and lists nothing here.
        self.spill.chmod(0o711)
        self._forker = Forker(self.spill, entry)

    async def start(self) -> None:
        """Start what forks queries. Raises UnavailableError where that does not come up."""
        await self._forker.start()

    async def probe(self, lake: Path, catalog: Path) -> str:
        """Return what a cage of this machine let through of what it must not, nothing where it holds."""
        async with self.folder() as spill:
            tried = Order("", "json", str(lake), str(catalog), str(spill), Limits(), is_probe=True)
            answer = await self.ask(tried)
        return "" if answer.reason == "answered" else answer.message

    def stop(self) -> None:
        """End every query and remove what is spilled."""
        self._forker.stop()
        shutil.rmtree(self.spill, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """Make a folder that is the cage's own for the block."""
        folder = Path(tempfile.mkdtemp(dir=self.spill))
        if os.geteuid() == 0:
            os.chown(folder, cage.NOBODY, cage.NOBODY)
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def ask(self, asked: Order) -> Answer:
        """Answer an order. Cancelled, it ends the query and waits for that.

        Raises UnavailableError where nobody can fork.
        """
        await self._forker.start()
        async with self._forked(asked) as (running, receiving):
            body = bytearray()
            reading = asyncio.create_task(_read(receiving, body, asked.limits.answer_bytes * TOO_LONG))
            watching = asyncio.create_task(_watch(running, Path(asked.spill), asked.limits))
            try:
                await asyncio.wait((reading, watching), return_when=asyncio.FIRST_COMPLETED)
                answer = await _judged(reading, watching, running, asked)
                return answer._replace(body=bytes(body))
            finally:
                for task in (reading, watching):
                    task.cancel()
                await asyncio.gather(reading, watching, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _forked(self, asked: Order) -> AsyncIterator[tuple[Running, socket.socket]]:
        """Have a process for the block, and none after it."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        written = order.written(asked)
        try:
            running = self._forker.fork(written, theirs.fileno())
        finally:
            os.close(written)
            theirs.close()
        try:
            yield running, ours
        finally:
            running.kill()
            ours.close()
            with contextlib.suppress(Exception):
                await asyncio.shield(running.gone)


async def _read(receiving: socket.socket, body: bytearray, most_bytes: int) -> Ended | None:
    """Add to `body` what comes of the answer, and return how it ended; None where it ended without a word.

    Raises OverflowError for one that is longer than any may be, ValueError for what no cage of ours writes.
    """
    frames = Frames()
    loop = asyncio.get_running_loop()
    while received := await loop.sock_recv(receiving, 1 << 18):
        for kind, value in frames.take(received):
            if kind == END:
                return msgspec.json.decode(value, type=Ended)
            body += value
            if len(body) > most_bytes:
                raise OverflowError
    return None


async def _watch(running: Running, spill: Path, limits: Limits) -> Reason:
    """Return what a query took too much of, when it does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limits.wall_secs
    pid = await running.started
    looks = 0
    while loop.time() < deadline:
        if resident_bytes(pid) > limits.memory_bytes:
            return "out_of_memory"
        if looks % SPILL_EVERY_LOOKS == 0 and spilled_bytes(spill) > limits.spill_bytes:
            return "spilled_too_much"
        looks += 1
        await asyncio.sleep(LOOK_EVERY_SECS)
    return "too_slow"


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds, 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as told:  # noqa: PTH123 - fifty times a second
            return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def spilled_bytes(spill: Path) -> int:
    """Return the size of what a query spilled; more files than any query of ours makes count as endless."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(spill) as entries:
        for number, entry in enumerate(entries):
            if number >= MOST_SPILLED_FILES:
                return 1 << 62
            with contextlib.suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


async def _judged(
    reading: asyncio.Task[Ended | None], watching: asyncio.Task[Reason], running: Running, asked: Order
) -> Answer:
    """Make one answer of what was read and what was watched, after the process has gone."""
    if not reading.done():
        reason = await watching
        running.kill()
        gone = await running.gone
        return Answer(reason, sentence(reason, asked.limits), most_memory_bytes=gone.most_memory_bytes)
    try:
        ended = reading.result()
    except OverflowError:
        return Answer("too_long", sentence("too_long", asked.limits))
    except (ValueError, msgspec.MsgspecError, OSError) as error:
        return Answer("failed", f"the query's process answered what cannot be read: {error}")
    running.kill()
    gone = await running.gone
    if ended is None:
        return _died(gone.status, asked.limits)._replace(most_memory_bytes=gone.most_memory_bytes)
    return _told(ended, asked.limits)._replace(most_memory_bytes=gone.most_memory_bytes)


def _told(ended: Ended, limits: Limits) -> Answer:
    if ended.outcome == "answered":
        return Answer("answered", "", b"", ended.rows, ended.truncated, ended.elapsed_seconds)
    if ended.outcome == "out_of_memory":
        return Answer("out_of_memory", sentence("out_of_memory", limits))
    return Answer(ended.outcome, ended.message)


def _died(status: int, limits: Limits) -> Answer:
    """Tell what a process died of that said nothing."""
    number = os.waitstatus_to_exitcode(status)
    if number == -signal.SIGXCPU:
        return Answer("too_slow", sentence("too_slow", limits))
    if number in (-signal.SIGABRT, -signal.SIGKILL):
        return Answer("out_of_memory", sentence("out_of_memory", limits))
    name = signal.Signals(-number).name if number < 0 else f"exit code {number}"
    return Answer("failed", f"the query ended its process ({name}); make it smaller or less deeply nested")


def sentence(reason: Reason, limits: Limits) -> str:
    """Return why a query was ended, and what to do."""
    fewer = "ask for fewer hours (since, until), fewer columns, or sums in place of rows"
    return {
        "too_slow": f"the query was ended after {limits.wall_secs:g} s: {fewer}",
        "out_of_memory": f"the query was ended: it needs more than {_size(limits.memory_bytes)} of memory; {fewer}",
        "spilled_too_much": f"the query was ended: it spilled more than {_size(limits.spill_bytes)} to disk; {fewer}",
        "too_long": f"a row of the answer is longer than {_size(limits.answer_bytes)}: select less of it",
    }.get(reason, reason)


def _size(count: int) -> str:
    return f"{count / (1 << 30):g} GB" if count >= 1 << 30 else f"{count / (1 << 20):g} MB"
