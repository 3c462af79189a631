"""The lake writer as a process: signals, the event loop, log lines."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import uvloop

from sinks.lake.parquet import Step
from sinks.lake.writer import Writer, WriterSettings


def run(bootstrap: str, lake: Path, settings: WriterSettings, step: Step = lambda _: None) -> None:
    """Run a writer until SIGTERM or SIGINT, flush once more, return; errors are those of `Writer.run`.

    `step` is called with the name of each durable step as it is done.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    uvloop.run(_run(Writer(bootstrap, lake, settings, step)))


async def _run(writer: Writer) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await writer.run(stopping)
