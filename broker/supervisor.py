"""Worker processes that are restarted when they die, die with us, and are never two for one slot.

Each worker lives in a slot of its own: a name, a lock, a log. The lock matters because two live processes
with one static group id are not fenced by Kafka (traps.md 10).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from broker import leash
from broker.folders import user_folder
from broker.lock import hold, is_held
from schemas.errors import ConfigurationError

LARGEST_LOG_BYTES = 10_000_000
FIRST_PAUSE_SECS = 0.25
LOOK_EVERY_SECS = 1.0


@dataclass(frozen=True)
class Worker:
    """Say what to run in one slot; `name` (a word like `roll-up-0`) also names its lock and its log."""

    name: str
    argv: Sequence[str]
    environ: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerState:
    """Show one worker to a person: `pid` is None while it waits to be restarted."""

    name: str
    pid: int | None
    restarts: int
    log_path: Path


def lock_folder(bootstrap: str) -> Path:
    """Return the folder of this user's slot locks for one Kafka, the same for every program that uses it."""
    return user_folder() / "locks" / re.sub(r"[^A-Za-z0-9.]+", "-", bootstrap)


def first_free_slot(locks: Path, part: str) -> int:
    """Return the lowest slot of a part that nobody holds; another may still be quicker, and `start` tells then."""
    return next(slot for slot in itertools.count() if not is_held(locks / f"{part}-{slot}.lock"))


class Supervisor:
    """Run workers for as long as the `with` block lasts.

    A dead worker is started again at once; one that keeps dying within `healthy_after_secs` waits longer
    each time, up to `longest_pause_secs`. Every end is one line to `report`. One that ends with exit code 78
    in its first life was told nonsense: all are stopped and `wait` raises ConfigurationError. One that somebody
    stopped (SIGSTOP) for `stopped_for_secs` is killed: it holds its slot's lock, so nobody else does its work.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        folder: Path,
        *,
        locks: Path | None = None,
        report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
        healthy_after_secs: float = 10.0,
        longest_pause_secs: float = 30.0,
        stopped_for_secs: float = 30.0,
    ) -> None:
        self.folder = folder
        self.locks = locks or folder / "locks"
        self.healthy_after_secs = healthy_after_secs
        self.longest_pause_secs = longest_pause_secs
        self.stopped_for_secs = stopped_for_secs
        self.report = report
        self._ended = threading.Event()
        self._refusal: str | None = None
        self._slots = [_Slot(worker, self) for worker in workers]

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Take every slot's lock, then start every worker; raise ConfigurationError where a slot is taken."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            for slot in self._slots:
                slot.take_lock()
        except BaseException:
            self.stop(within_secs=0)
            raise
        for slot in self._slots:
            slot.start()
        threading.Thread(target=self._look_for_stopped, name="looks-for-stopped", daemon=True).start()

    def _look_for_stopped(self) -> None:
        while not self._ended.wait(LOOK_EVERY_SECS):
            for slot in self._slots:
                slot.look()

    def states(self) -> list[WorkerState]:
        """Return the state of each worker, in the order given."""
        return [slot.state() for slot in self._slots]

    def wait(self, timeout_secs: float | None = None) -> bool:
        """Return True when `stop` was called, False after the timeout; raise ConfigurationError (see above)."""
        ended = self._ended.wait(timeout_secs)
        if self._refusal:
            raise ConfigurationError(self._refusal)
        return ended

    def wait_for_signal(self) -> None:
        """Wait for SIGTERM or SIGINT (main thread only), then stop; a second signal kills at once."""
        received: list[int] = []

        def hear(number: int, frame: object) -> None:
            received.append(number)
            self._ended.set()
            if len(received) > 1:
                self._signal_all(signal.SIGKILL)

        before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self.wait()
            self.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self, within_secs: float = 6.0) -> None:
        """Ask every worker to end and kill after `within_secs` those that have not; idempotent."""
        self._ended.set()
        if self._slots:
            with ThreadPoolExecutor(len(self._slots)) as pool:
                list(pool.map(lambda slot: slot.stop(within_secs), self._slots))

    def refuse(self, sentence: str) -> None:
        """End all and keep the sentence for `wait`."""
        self._refusal = sentence
        self._ended.set()
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for slot in self._slots:
            slot.signal(number)

    @property
    def is_ending(self) -> bool:
        """Tell whether workers that end now are meant to."""
        return self._ended.is_set()

    def pause(self, secs: float) -> None:
        """Wait before a restart, no longer than until the supervisor ends."""
        self._ended.wait(secs)


class _Slot:
    """One worker's life after life, in a thread of its own."""

    def __init__(self, worker: Worker, supervisor: Supervisor) -> None:
        self.worker = worker
        self.log_path = supervisor.folder / f"{worker.name}.log"
        self._lock_path = supervisor.locks / f"{worker.name}.lock"
        self._supervisor = supervisor
        self._thread: threading.Thread | None = None
        self._popen: subprocess.Popen | None = None
        self._lock = -1
        self._lives = 0
        self._stopped_looks = 0

    def take_lock(self) -> None:
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock = hold(self._lock_path)
        if lock is None:
            holder = self._lock_path.read_text().strip() or "unknown"
            raise ConfigurationError(
                f"{self.worker.name} is run already, by the process {holder} (lock {self._lock_path}): "
                f"stop that one, or use another Kafka"
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        self._lock = lock

    def start(self) -> None:
        self._launch()
        self._thread = threading.Thread(target=self._live, name=f"slot-{self.worker.name}", daemon=True)
        self._thread.start()

    def state(self) -> WorkerState:
        popen = self._popen
        pid = popen.pid if popen and popen.returncode is None else None
        return WorkerState(self.worker.name, pid, max(0, self._lives - 1), self.log_path)

    def signal(self, number: signal.Signals) -> None:
        if self._popen:
            self._popen.send_signal(number)

    def look(self) -> None:
        """Kill the worker where it was stopped at so many looks in a row: seconds pass for a paused machine, too."""
        popen = self._popen
        is_stopped = popen is not None and popen.returncode is None and _is_stopped(popen.pid)
        self._stopped_looks = self._stopped_looks + 1 if is_stopped else 0
        if popen is not None and self._stopped_looks * LOOK_EVERY_SECS > self._supervisor.stopped_for_secs:
            self._stopped_looks = 0
            since = f"{self._supervisor.stopped_for_secs:.0f} s ago"
            self._supervisor.report(
                f"{self.worker.name} is killed: somebody stopped it (SIGSTOP) {since}, and nobody else can do its work"
            )
            popen.kill()

    def stop(self, within_secs: float) -> None:
        self.signal(signal.SIGTERM if within_secs else signal.SIGKILL)
        if self._thread:
            self._thread.join(within_secs)
            while self._thread.is_alive():  # again and again: one may be starting just now
                self.signal(signal.SIGKILL)
                self._thread.join(0.1)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _launch(self) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > LARGEST_LOG_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
            self._popen = leash.popen(
                list(self.worker.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.worker.environ},
                pass_fds=(self._lock,),  # held by the worker too: the slot is taken for as long as it lives
            )
        self._lives += 1

    def _live(self) -> None:
        quick_deaths = 0
        while True:
            born = time.monotonic()
            code = self._popen.wait()
            if self._supervisor.is_ending:
                return
            lived_secs = time.monotonic() - born
            quick_deaths = 0 if lived_secs >= self._supervisor.healthy_after_secs else quick_deaths + 1
            line = f"{self.worker.name} ended after {lived_secs:.1f} s with {_meaning(code)}: {self._last_line()}"
            if code == ConfigurationError.exit_code and self._lives == 1:
                self._supervisor.refuse(f"{line} (log: {self.log_path})")
                return
            self._pause(quick_deaths, line)
            if not self._launched_again():
                return

    def _launched_again(self) -> bool:
        """Start the worker however long the machine refuses it (a full disk, no memory); False when we end."""
        while not self._supervisor.is_ending:
            try:
                self._launch()
                return True
            except OSError as error:
                self._supervisor.report(f"{self.worker.name} could not be started: {error}; it is tried again")
                self._supervisor.pause(self._supervisor.longest_pause_secs)
        return False

    def _pause(self, quick_deaths: int, line: str) -> None:
        """Tell of the end and wait: not at all after the first quick death, then twice as long each time."""
        secs = FIRST_PAUSE_SECS * 2 ** min(quick_deaths - 2, 30) if quick_deaths > 1 else 0.0
        secs = min(secs, self._supervisor.longest_pause_secs)
        when = f"in {secs:.2g} s, death {quick_deaths} in a row" if secs else "at once"
        self._supervisor.report(f"{line}; it is started again {when} (log: {self.log_path})")
        self._supervisor.pause(secs)

    def _last_line(self) -> str:
        with contextlib.suppress(OSError), self.log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            if lines := log.read().decode(errors="replace").split("\n"):
                return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "it wrote nothing")
        return "its log cannot be read"


def _is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped by a signal; one that a debugger holds is not. Only Linux says it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False


def _meaning(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
