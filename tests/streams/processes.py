"""Worker processes for tests: their lines as they come, their end, and no orphan left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class Process:
    """One worker in a `with` block; `output` is all that it has written so far."""

    def __init__(self, log: Path, *arguments: str, **environ: str) -> None:
        self._log = log
        environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environ}
        with log.open("wb") as out:
            self.popen = subprocess.Popen(
                [sys.executable, *arguments], stdout=out, stderr=out, cwd=REPOSITORY, env=environ
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_for(self, words: str, within_secs: float = 20.0, times: int = 1) -> str:
        """Return the output once it holds `words` so many times; fail with it where that does not happen."""
        deadline = time.monotonic() + within_secs
        while self.output.count(words) < times:
            assert time.monotonic() < deadline, f"no {words!r} in {within_secs} s:\n{self.output}"
            assert self.popen.poll() is None or self.output.count(words) >= times, f"ended:\n{self.output}"
            time.sleep(0.05)
        return self.output

    def end(self, within_secs: float = 15.0) -> int:
        """Return the exit code."""
        return self.popen.wait(within_secs)

    def terminate(self) -> float:
        """Ask it to stop; return the seconds that it took."""
        began = time.monotonic()
        self.popen.send_signal(signal.SIGTERM)
        self.popen.wait(15)
        return time.monotonic() - began

    def pause(self) -> None:
        """Stop it as a machine does that stands still."""
        self.popen.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it was paused."""
        self.popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.popen.kill()
        self.popen.wait(15)
