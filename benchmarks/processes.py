"""Processes of a benchmark and what they cost: CPU by rusage of the whole process, from start to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil


class Measured:
    """One process of ours; `end` returns its CPU seconds, user and system."""

    def __init__(self, name: str, *argv: str, log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as out:
            self._popen = subprocess.Popen([sys.executable, *argv], stdout=out, stderr=out)

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._popen.pid

    def wait(self, within_secs: float) -> float:
        """Wait until it ends by itself; return its CPU seconds."""
        return self._reap(time.monotonic() + within_secs)

    def end(self) -> float:
        """Ask it to end and return its CPU seconds."""
        self._popen.send_signal(signal.SIGTERM)
        return self._reap(time.monotonic() + 20)

    def _reap(self, deadline: float) -> float:
        while time.monotonic() < deadline:
            pid, _, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._popen.returncode = 0
                return usage.ru_utime + usage.ru_stime
            time.sleep(0.02)
        self._popen.kill()
        raise TimeoutError(f"{self.name} did not end: {self._log.read_text()[-2000:]}")


def worker(part: str, bootstrap: str, log: Path, *options: str) -> Measured:
    """Start one worker of the product."""
    argv = ("-m", "wattline", "worker", part, "--slot", "0", "--bootstrap", bootstrap)
    return Measured(part, *argv, *options, log=log / f"{part}.log")


def cpu_secs(pids: Iterable[int]) -> list[float]:
    """Return user + system CPU seconds of live processes so far."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return [each.user + each.system for each in times]


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a live process."""
    return int(psutil.Process(pid).memory_info().rss)
