"""The app as a process: its socket, its signals, and what it hears and sends beside answering."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import uvicorn
import uvloop

from broker.folders import user_folder
from broker.health import Counted, Reporter, reads_no_partition
from broker.watchdog import Watchdog
from schemas.admission import Clock
from schemas.errors import ConfigurationError, UnavailableError
from web.app import make_app, utc_now
from web.asking import Asking
from web.audit import Audit
from web.canary import sing
from web.following import keep_up
from web.state import State
from web.tokens import TokenFile, token_file

LOOPBACK = ("127.0.0.1", "localhost")
GRACE_SECS = 2
MOST_CONNECTIONS = 64


class WebSettings(NamedTuple):
    """Say where the app listens; `canary_secs` is how often the canary's alert must come out.

    SQL is answered from `lake`, to who has a token of the file `tokens`; None = not at all, and the usual file.
    """

    slot: int = 0
    host: str = "127.0.0.1"
    port: int = 8420
    clock: Clock = "wall"
    canary_secs: float = 300.0
    lake: Path | None = None
    tokens: Path | None = None


def run(bootstrap: str, settings: WebSettings) -> None:
    """Answer until SIGTERM or SIGINT; errors are those of `listening`."""
    logging.basicConfig(level=logging.WARNING, format="wattline: %(message)s")
    with listening(settings.host, settings.port) as listener:
        uvloop.run(_run(bootstrap, settings, listener))


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Hold the address for the block.

    Raises ConfigurationError for an address of other machines, UnavailableError where the port is taken.
    """
    if host not in LOOPBACK:
        raise ConfigurationError(
            f"the web app cannot listen on {host!r} yet: outside this machine it needs TLS and tokens, which come "
            f"with a later version; allowed now: {', '.join(LOOPBACK)}, with a tunnel or a proxy of yours before it"
        )
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            # Not a ConfigurationError: with it the supervisor would end the streams over a port.
            raise UnavailableError(
                f"the web app cannot listen on {host}:{port}: {error.strerror}; name another port with --web-port"
            ) from error
        yield listener


class Server(uvicorn.Server):
    """Leave signals to us: uvicorn's own way ends the process before the worker has said good-bye."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _asking(settings: WebSettings) -> Asking | None:
    """Return who answers SQL, where there is a lake to ask."""
    if settings.lake is None:
        return None
    audit = Audit(user_folder() / "audit" / "sql.jsonl")
    return Asking(settings.lake, TokenFile(settings.tokens or token_file()), audit)


async def _run(bootstrap: str, settings: WebSettings, listener: socket.socket) -> None:
    Watchdog(f"web-{settings.slot}", _say).start()
    has_canary = settings.clock == "wall"
    every = timedelta(seconds=settings.canary_secs) if has_canary else None
    state = State(utc_now(), every)
    config = uvicorn.Config(
        make_app(state, asking=_asking(settings)),
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECS,
    )
    server = Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, lambda: setattr(server, "should_exit", True))
    reporter = Reporter(bootstrap, "web", settings.slot, Counted(), reads_no_partition)
    reporter.start()
    beside = [asyncio.create_task(keep_up(state, bootstrap))]
    if every is not None:
        beside.append(asyncio.create_task(sing(bootstrap, every)))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    done, _ = await asyncio.wait([serving, *beside], return_when=asyncio.FIRST_COMPLETED)
    await reporter.stop()
    for task in (*beside, serving):
        task.cancel()
    await asyncio.wait([*beside, serving], timeout=GRACE_SECS)  # consumers and producer say good-bye
    for task in done:
        task.result()  # raises what ended it, but for a stop that was asked for


def _say(line: str) -> None:
    print(f"wattline: {line}", file=sys.stderr, flush=True)
