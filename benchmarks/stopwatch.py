"""A stopwatch on functions: the CPU of each part without that of the parts within it, and its longest call."""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable
from typing import Any


class Stopwatch:
    """Count the CPU of functions, all threads; `longest` is of one call, with what it calls."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.longest: dict[str, float] = {}
        self._within: list[float] = []

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Replace `owner.name` by itself, timed under `part`."""
        inside = owner.__dict__[name]
        is_class = isinstance(inside, classmethod)
        function = inside.__func__ if is_class else inside

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            return self.time(part, lambda: function(*args, **kwargs))

        setattr(owner, name, classmethod(timed) if is_class else timed)

    def time(self, part: str, work: Callable[[], Any]) -> Any:
        """Do `work` and count its CPU under `part`."""
        began = self._begin()
        try:
            return work()
        finally:
            self._end(part, began)

    def watch_collections(self) -> None:
        """Count what Python's garbage collector costs as a part of its own."""
        began = 0.0

        def on(phase: str, _: dict[str, int]) -> None:
            nonlocal began
            if phase == "start":
                began = self._begin()
            else:
                self._end("garbage collection", began)

        gc.callbacks.append(on)

    def clear(self) -> None:
        """Begin anew."""
        for counted in (self.spent, self.calls, self.longest):
            counted.clear()

    def _begin(self) -> float:
        self._within.append(0.0)
        return time.process_time()

    def _end(self, part: str, began: float) -> None:
        took = time.process_time() - began
        own = took - self._within.pop()
        self.spent[part] = self.spent.get(part, 0.0) + own
        self.calls[part] = self.calls.get(part, 0) + 1
        self.longest[part] = max(self.longest.get(part, 0.0), took)
        if self._within:
            self._within[-1] += took
