"""The process that forks a query's own: started first, with one thread, nothing in its environment, no descriptor.

It has imported what a query needs, so that a query costs a fork and not a start. It is spawned, not forked, by the app
(sinks.sandbox.forker), and knows no token, no file of the lake and no query: an order goes through it unread.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import shutil
import signal
import socket
from typing import NamedTuple

import msgspec

from sinks.sandbox.threads import threads

ORDER, ANSWER = 3, 4
"""The descriptors that a query's process has beside the first three, which lead nowhere."""


class Asked(msgspec.Struct, frozen=True):
    """Ask for a fork; two descriptors go with it: the order and where to answer."""

    number: int


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """Say that a process runs; a descriptor of it goes with this."""

    number: int
    pid: int


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """Say how a process ended: `status` as of waitpid, the most memory that it held, its CPU time."""

    number: int
    status: int
    most_memory_bytes: int
    cpu_seconds: float


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Say that orders are taken."""

    threads: int


Told = Forked | Gone | Ready


class Child(NamedTuple):
    """Hold one forked process."""

    number: int
    pid: int
    descriptor: int


class Zygote:
    """Fork for each order that comes through `control`, and tell how each process ended."""

    def __init__(self, control: socket.socket, spill: str) -> None:
        self._control = control
        self._spill = spill
        self._children: dict[int, Child] = {}

    def run(self) -> None:
        """Serve until the app is gone; then end every child and remove what they spilled."""
        self._tell(Ready(threads()))
        try:
            while self._turn():
                pass
        finally:
            for child in self._children.values():
                os.kill(child.pid, signal.SIGKILL)
            shutil.rmtree(self._spill, ignore_errors=True)

    def _turn(self) -> bool:
        """Serve what is there; False when the app is gone."""
        ready, _, _ = select.select([self._control, *self._children], [], [])
        for descriptor in ready:
            if descriptor is self._control:
                if not self._take():
                    return False
            else:
                self._bury(self._children.pop(descriptor))
        return True

    def _take(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, 4096, 2)
        if not message:
            return False
        self._fork(msgspec.json.decode(message, type=Asked), *descriptors)
        return True

    def _fork(self, asked: Asked, order: int, answer: int) -> None:
        pid = os.fork()
        if pid == 0:
            _become(order, answer)
        os.close(order)
        os.close(answer)
        child = Child(asked.number, pid, os.pidfd_open(pid))
        self._children[child.descriptor] = child
        self._tell(Forked(asked.number, pid), child.descriptor)

    def _bury(self, child: Child) -> None:
        """Take in a child that ended. Its number is its own until then: what is left of its group ends with it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        _, status, used = os.wait4(child.pid, 0)
        os.close(child.descriptor)
        self._tell(Gone(child.number, status, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime))

    def _tell(self, told: Told, *descriptors: int) -> None:
        socket.send_fds(self._control, [msgspec.json.encode(told)], list(descriptors))


def _become(order: int, answer: int) -> None:
    """Turn a fork into a query's own process; never returns."""
    status = 1
    try:
        _keep(order, answer)
        from sinks.sandbox import question

        question.answer(ORDER, ANSWER)
        status = 0
    finally:
        os._exit(status)


def _keep(*kept: int) -> None:
    """Close every descriptor but these, which become 3, 4, ..."""
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, 64) for each in kept]
    for place, each in enumerate(high):
        os.dup2(each, ORDER + place, inheritable=False)
    os.closerange(ORDER + len(kept), 1 << 16)


def main(control: int, spill: str) -> None:
    """Run as a process: import what queries need, then serve."""
    import zoneinfo

    import sinks.sandbox.question  # noqa: F401 - what a query would import it no longer can
    from sinks.sandbox import seccomp

    zoneinfo.ZoneInfo("UTC")
    seccomp.is_there()  # and what it would load
    os.environ.clear()
    os.chdir("/")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threads() != 1:
        raise RuntimeError(f"the zygote has {threads()} threads; a fork of it would hold locks that nobody frees")
    gc.collect()
    gc.freeze()
    Zygote(socket.socket(fileno=control), spill).run()
