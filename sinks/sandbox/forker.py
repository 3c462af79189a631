"""The app's end of the zygote: start it, order forks of it, learn how they end, and end them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from schemas.errors import UnavailableError
from sinks.sandbox.zygote import Asked, Forked, Gone, Ready, Told

READY_WITHIN_SECS = 20.0
ENTRY = (
    "import sys; sys.path[:] = sys.argv[3:]; from sinks.sandbox.zygote import main; main(int(sys.argv[1]), sys.argv[2])"
)
"""What the zygote runs: it takes over where modules are found, and nothing else."""

# Each of the three would start threads while it is imported: a fork of these would hold locks that nobody frees.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "OMP_NUM_THREADS": "1",
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
}


class Running:
    """Hold one forked process: `started` and `gone` are told by the zygote."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        self.gone: asyncio.Future[Gone] = loop.create_future()
        self._descriptor: int | None = None
        self._is_doomed = False

    def kill(self) -> None:
        """End it now, or as soon as it starts."""
        self._is_doomed = True
        if self._descriptor is not None and not self.gone.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def has_started(self, pid: int, descriptor: int) -> None:
        """Take in its number and a descriptor of it, which no other process can come to have."""
        self._descriptor = descriptor
        if not self.started.done():
            self.started.set_result(pid)
        if self._is_doomed:
            self.kill()

    def has_gone(self, gone: Gone) -> None:
        """Take in how it ended."""
        self._let_go()
        if not self.gone.done():
            self.gone.set_result(gone)

    def is_lost(self, error: Exception) -> None:
        """Take in that nobody will tell any more: its zygote died, and it with it."""
        self._let_go()
        for future in (self.started, self.gone):
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever waits is told; nobody else need be

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Forker:
    """Keep one zygote alive and hand it orders. For one event loop."""

    def __init__(self, spill: Path, entry: str = ENTRY) -> None:
        self._spill = spill
        self._entry = entry
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._running: dict[int, Running] = {}
        self._number = 0
        self._ready: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start the zygote where there is none. Raises UnavailableError where it does not come up."""
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._spawn()
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), READY_WITHIN_SECS)
        except TimeoutError as error:
            self.stop()
            raise UnavailableError("the process that forks queries did not start within 20 s; try again") from error

    def fork(self, order: int, answer: int) -> Running:
        """Order one process; both descriptors may be closed at once."""
        if self._control is None:
            raise UnavailableError("the process that forks queries is not there; try again")
        self._number += 1
        running = self._running[self._number] = Running()
        try:
            socket.send_fds(self._control, [msgspec.json.encode(Asked(self._number))], [order, answer])
        except OSError as error:
            self._lose()
            raise UnavailableError(f"the process that forks queries does not listen: {error.strerror}") from error
        return running

    def stop(self) -> None:
        """End the zygote, and with it every query."""
        self._lose()

    def _spawn(self) -> None:
        """Start the zygote with nothing but its end of a socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        places = [place for place in sys.path if place] or [str(Path.cwd())]
        self._zygote = subprocess.Popen(
            [sys.executable, "-I", "-c", self._entry, str(theirs.fileno()), str(self._spill), *places],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        self._control = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear)

    def _hear(self) -> None:
        """Take what the zygote says; an end of it is the end of all that it forked."""
        try:
            for told, descriptors in self._messages():
                self._take(told, descriptors)
        except (OSError, EOFError, msgspec.MsgspecError):
            self._lose()

    def _messages(self) -> Iterator[tuple[Told, list[int]]]:
        assert self._control is not None
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self._control, 4096, 1)
            except BlockingIOError:
                return
            if not message:
                raise EOFError
            yield msgspec.json.decode(message, type=Told), descriptors

    def _take(self, told: Told, descriptors: list[int]) -> None:
        if isinstance(told, Ready):
            if self._ready is not None and not self._ready.done():
                self._ready.set_result(None)
        elif isinstance(told, Forked):
            self._running[told.number].has_started(told.pid, descriptors[0])
        else:
            self._running.pop(told.number).has_gone(told)

    def _lose(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        if self._zygote is not None:
            self._zygote.kill()
            self._zygote.wait()
            self._zygote = None
        lost = UnavailableError("the process that forks queries ended; try again")
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(lost)
            self._ready.exception()
        self._ready = None
        for running in self._running.values():
            running.is_lost(lost)
        self._running.clear()
