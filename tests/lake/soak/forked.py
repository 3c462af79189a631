"""Writers and compactors that a zygote forks: their lines, the step that they are at, signals and traps."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker import leash
from tests.conftest import REPOSITORY
from tests.lake.soak.zygote import ENDED, REVOKED

BUFFER = frozenset({"gathered"})
FLUSH = frozenset({"decoded", "file written", "file synced", "file named", "files named"})
COMMIT = frozenset({"entry written", "entry synced"})
COMPACTION = frozenset({"run merged", "file written", "file synced", "file named", "files verified"})
IDLE = frozenset({"assigned", "offsets committed", REVOKED})
STEPS = (*sorted(FLUSH), *sorted(COMMIT))


def held(line: str) -> str:
    """Return what a writer holds that said `line` last: `buffer`, `flush`, `commit`, or nothing."""
    return next(
        (name for name, steps in (("buffer", BUFFER), ("flush", FLUSH), ("commit", COMMIT)) if line in steps), ""
    )


class LateError(Exception):
    """Tell that a writer did not do in time what was waited for."""


class Zygote:
    """Fork writers on demand; they end with it. For several threads."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock, self._connection = threading.Lock(), ours
        self._popen: subprocess.Popen = leash.popen(
            [sys.executable, "-m", "tests.lake.soak.zygote", str(theirs.fileno())],
            cwd=REPOSITORY,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
        )
        theirs.close()

    def fork(self, options: dict[str, Any]) -> Writer:
        """Start a writer."""
        reading, writing = os.pipe()
        with self._lock:
            socket.send_fds(self._connection, [json.dumps(options).encode()], [writing])
            pid, (process,), _, _ = socket.recv_fds(self._connection, 32, 1)
        os.close(writing)
        return Writer(int(pid), process, reading, Path(options["trap"]))

    def close(self) -> None:
        """End every writer."""
        self._connection.close()
        self._popen.kill()
        self._popen.wait()


class Writer:
    """The process of one writer or compactor."""

    def __init__(self, pid: int, process: int, output: int, trap: Path) -> None:
        self.pid, self._process, self._trap = pid, process, trap
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def _read(self, output: int) -> None:
        with open(output, errors="replace") as pipe:
            self.lines.extend(line.rstrip("\n") for line in pipe)

    @property
    def is_alive(self) -> bool:
        """Tell whether the process has not ended."""
        return self._process >= 0 and not select.select([self._process], [], [], 0)[0]

    @property
    def is_stopped(self) -> bool:
        """Tell whether a signal has stopped it."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except OSError:
            return False

    @property
    def held(self) -> str:
        """Return what it holds, by the last step that it said; revoked, it holds what it held before."""
        return held(self.last_step())

    def last_step(self, until: int | None = None) -> str:
        """Return the last step among its lines, or among the first `until` of them."""
        steps = BUFFER | FLUSH | COMPACTION | COMMIT | IDLE
        return next((line for line in reversed(self.lines[:until]) if line in steps), "")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens to one that has ended."""
        if self._process >= 0:
            try:
                signal.pidfd_send_signal(self._process, number)
            except ProcessLookupError:
                return

    def set_trap(self, step: str, number: signal.Signals) -> None:
        """Let it send itself a signal as soon as it has done `step`."""
        unfinished = self._trap.with_suffix(".unfinished")
        unfinished.write_text(f"{step}:{number.value}")
        unfinished.replace(self._trap)

    def drop_trap(self) -> None:
        """Take a trap back that nobody stepped into."""
        self._trap.unlink(missing_ok=True)

    def said(self, words: str, since: int = 0) -> bool:
        """Tell whether a line has these words in it."""
        return any(words in line for line in self.lines[since:])

    def did(self, step: str, since: int = 0, times: int = 1) -> bool:
        """Tell whether it has done a step so often since it had said `since` lines."""
        return self.lines[since:].count(step) >= times

    def wait(
        self, condition: Callable[[], bool], what: str, within_secs: float = 30.0, every_secs: float = 0.01
    ) -> None:
        """Wait for a condition; raise LateError with its last lines where the writer ended or it takes too long."""
        deadline = time.monotonic() + within_secs
        while not condition():
            if not self.is_alive and not condition():
                raise LateError(f"writer {self.pid} ended before {what}: {self.lines[-5:]}")
            if time.monotonic() > deadline:
                said = self.lines[-5:]
                self.signal(signal.SIGUSR1)
                time.sleep(1)
                threads = "\n".join(self.lines[-80:])
                raise LateError(f"writer {self.pid}: no {what} in {within_secs:.0f} s: {said}; it is at\n{threads}")
            time.sleep(every_secs)

    def end(self, number: signal.Signals, within_secs: float = 30.0) -> bool:
        """Send a signal and wait for the end; tell whether it ended cleanly. Its last lines are read by then."""
        self.signal(number)
        return self.wait_for_end(within_secs)

    def wait_for_end(self, within_secs: float = 30.0) -> bool:
        """Wait until it has ended, by force where it takes too long; tell whether it ended cleanly."""
        if self._process >= 0:
            if not select.select([self._process], [], [], within_secs)[0]:
                self.signal(signal.SIGKILL)
                select.select([self._process], [], [])
            os.close(self._process)
            self._process = -1
        self._reader.join()
        self.drop_trap()
        return ENDED in self.lines
