"""Forks writers and compactors that run at once: what they import is imported once, here. Run with a socket's number.

Each datagram brings the options of one as JSON and the end of a pipe for its output; the answer is its
process id and a descriptor of the process. Forked and not spawned, since nothing has touched Delta yet here:
a child of a process that has would panic (traps.md 38). All children end with this process.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from broker.leash import PR_SET_PDEATHSIG
from sinks.lake.assignment import Assignment
from sinks.lake.ledger import Ledger
from sinks.lake.process import run
from sinks.lake.tables import BY_NAME
from sinks.lake.writer import WriterSettings
from sinks.upkeep.compaction import compact_hour

ENDED = "ended cleanly"
REVOKED = "revoked"
LARGEST_OPTIONS = 4_096


def serve(connection: socket.socket) -> None:
    """Fork a writer for each datagram until the other side is gone."""
    while True:
        asked, descriptors, _, _ = socket.recv_fds(connection, LARGEST_OPTIONS, 1)
        if not asked:
            return
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        (output,) = descriptors
        if (pid := os.fork()) == 0:
            _be_one(json.loads(asked), output)
        os.close(output)
        process = os.pidfd_open(pid)
        socket.send_fds(connection, [str(pid).encode()], [process])
        os.close(process)


def _be_one(options: dict[str, Any], output: int) -> None:
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        faulthandler.register(signal.SIGUSR1, file=1, all_threads=True)
        step = at_traps(Path(options["trap"]))
        if "hour" in options:
            ledger = Ledger(BY_NAME[options["table"]], Path(options["lake"]), step)
            _say(str(compact_hour(ledger, options["hour"], step)))
        else:
            if options["is_fenced"] is False:
                take_the_fence_away()
            _tell_revocations()
            run(options["bootstrap"], Path(options["lake"]), WriterSettings(**options["settings"]), step)
        _say(ENDED)
        code = 0
    except BaseException:
        _say(traceback.format_exc())
    finally:
        os._exit(code)


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def at_traps(trap: Path) -> Callable[[str], None]:
    """Return a function that says each step, and sends this process the signal that a trap file asks for at it."""

    def called(name: str) -> None:
        _say(name)
        try:
            step, number = trap.read_text().split(":")
        except (OSError, ValueError):
            return
        if step == name:
            trap.unlink()
            os.kill(os.getpid(), int(number))

    return called


def _tell_revocations() -> None:
    revoked = Assignment.on_partitions_revoked

    def told(self: Assignment, partitions: Any) -> None:
        _say(REVOKED)
        revoked(self, partitions)

    Assignment.on_partitions_revoked = told  # type: ignore[method-assign]


def take_the_fence_away() -> None:
    """Let commits be made from the newest snapshot, wherever its positions are (traps.md 34): the negative proof."""
    write = Ledger._write_entry

    def written(self: Ledger, *entry: Any) -> None:
        self._delta.update_incremental()
        write(self, *entry)

    Ledger._write_entry = written  # type: ignore[method-assign]
    Ledger._require = lambda self, positions: None  # type: ignore[method-assign]


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
