"""The lake writer as a process: signals, the event loop, log lines."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from pathlib import Path

import pyarrow as pa
import uvloop

from broker.allocator import keep_what_is_free
from broker.health import Reporter
from broker.standing import Standing
from sinks.lake.parquet import Step
from sinks.lake.writer import Writer, WriterSettings

_EVERY_SECS = 10.0


class _OneVoice(logging.Filter):
    """Let one line of aiokafka's through in ten seconds: a lost broker makes it say one thing in four ways."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        now = time.monotonic()
        if record.levelno < logging.WARNING or now < self._next:
            return False
        self._next = now + _EVERY_SECS
        return True


def run(bootstrap: str, lake: Path, settings: WriterSettings, step: Step = lambda _: None) -> None:
    """Run a writer until SIGTERM or SIGINT, flush once more, return; errors are those of `Writer.run`.

    `step` is called with the name of each durable step as it is done.
    """
    keep_memory()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_OneVoice())
    uvloop.run(_run(bootstrap, lake, settings, step))


def keep_memory() -> None:
    """Keep the memory of a flush for the next one, numpy's and Arrow's alike."""
    if keep_what_is_free():
        pa.set_memory_pool(pa.system_memory_pool())


async def _run(bootstrap: str, lake: Path, settings: WriterSettings, step: Step) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def report_too(name: str) -> None:
        if name == "assigned":  # one that stands by for the slot says nothing in its name
            reporter.start()
        step(name)

    writer = Writer(bootstrap, lake, settings, report_too)
    durable = writer.durable
    reporter = Reporter(bootstrap, "lake", settings.slot, durable.counted, Standing(durable.stands, writer.log_ends))
    await writer.run(stopping)
    await reporter.stop()
