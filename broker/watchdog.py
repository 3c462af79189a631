"""End a process whose event loop stands still: its heartbeats have a thread of their own and would keep its partitions.

Two watch. A thread of Python's counts looks in which the loop has not turned and says where the main thread
stands; it cannot run where native code never gives back the interpreter. Then a timer of faulthandler's, which
needs no interpreter, writes the stacks and ends the process. The thread counts looks, not seconds: a machine that
was paused for half a minute is no wedge. (After three quarters of one the timer ends it, and a start costs
little to a worker that has lost its session anyway.)
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

WEDGED_AFTER_SECS = 30.0
"""A drain of the largest backlog takes two seconds; Kafka's session ends after six, but only for heartbeats."""
LOOKS = 30
EXIT_CODE = 1
FRAMES = 4


class Watchdog:
    """Watch the running event loop from `start` on; `say` gets one sentence before the process ends."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name = name
        self._say = say
        self._wedged_after_secs = WEDGED_AFTER_SECS
        self._look_secs = WEDGED_AFTER_SECS / LOOKS
        self._turns = 0
        self._main = threading.get_ident()

    def start(self) -> None:
        """Begin; called on the loop that is watched."""
        self._main = threading.get_ident()
        self._turn(asyncio.get_running_loop())
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turns += 1
        # Later than the thread, which says more; it must not run out while a machine is merely slow.
        faulthandler.dump_traceback_later(self._wedged_after_secs * 1.5, exit=True)
        loop.call_later(self._look_secs, self._turn, loop)

    def _watch(self) -> None:
        seen, looks = -1, 0
        while looks <= LOOKS:
            time.sleep(self._look_secs)
            seen, looks = self._turns, looks + 1 if seen == self._turns else 0
        self._say(
            f"{self._name} stops: nothing has turned in it for {self._wedged_after_secs:.0f} s; "
            f"it stood at {self._where()}"
        )
        os._exit(EXIT_CODE)

    def _where(self) -> str:
        frame = sys._current_frames().get(self._main)
        frames = traceback.extract_stack(frame)[-FRAMES:] if frame else []
        return " < ".join(f"{each.name} ({each.filename}:{each.lineno})" for each in reversed(frames)) or "no frame"
