"""What minutes of GPUs, nodes and histograms cost at campus load: pieces in roll up, minutes in the evaluator.

Replays a minute and some seconds of the campus through both pure parts and counts the CPU of what minutes
alone need, the bytes that they add to Kafka (zstd as the producer packs them), and the longest that one call
holds the evaluator. Prints one JSON line a figure.
"""

from __future__ import annotations

import time
from collections import defaultdict

import pyarrow as pa

from benchmarks.campus import START, campus_registry
from benchmarks.figures import tell
from benchmarks.stopwatch import Stopwatch
from benchmarks.streams.evaluate import STREAMS, Load
from schemas import partial
from schemas.partial import PARTIAL, Partial
from schemas.rules import default_rules
from streams.evaluate import Evaluator
from streams.gpu_stream import GpuStream
from streams.watch import watch
from streams.windows_message import message_of_minute

SECONDS = 72
"""A minute, and what it takes until all of it is told."""


class _Watched(Load):
    """Make the same messages, and count what pieces cost and how large they are."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        super().__init__(campus_registry())
        self.registry = self._registry
        self.bytes: defaultdict[str, int] = defaultdict(int)
        self._stopwatch = stopwatch

    def _partial(self, made: Partial):
        kind = made.envelope.kind
        if made.envelope.record is PARTIAL:
            message = super()._partial(made)
        else:
            message = self._stopwatch.time("roll up, pieces encoded", lambda: super(_Watched, self)._partial(made))
        self.bytes["seconds" if made.envelope.record is PARTIAL else kind] += _packed(message.value)
        return message


def _packed(value: bytes) -> int:
    return len(pa.Codec("zstd").compress(value, asbytes=True))


def measure() -> dict[str, float]:
    """Return figures; those named after a stage are CPU seconds a second of the campus."""
    stopwatch = Stopwatch()
    load = _Watched(stopwatch)
    pieces = GpuStream._before
    GpuStream._before = lambda *given: stopwatch.time("roll up, pieces", lambda: pieces(*given))  # type: ignore[method-assign]
    evaluator = Evaluator(watch(default_rules(), load.registry), STREAMS)
    told = evaluator.sums.devices.told
    longest, rows, sent = 0.0, defaultdict(int), defaultdict(int)

    def timed_told(at_most: int) -> list:
        nonlocal longest
        began = time.process_time()
        found = stopwatch.time("evaluate, minutes", lambda: told(at_most))
        values = stopwatch.time("evaluate, minutes encoded", lambda: [message_of_minute(each)[0] for each in found])
        longest = max(longest, time.process_time() - began)
        for each, value in zip(found, values, strict=True):
            rows[each.table] += len(each.rows)
            sent[each.table] += _packed(value)
        return found

    evaluator.sums.devices.told = timed_told  # type: ignore[method-assign]
    for second in range(SECONDS):
        for message in (each for drain in load.second(START + second) for each in drain.partials):
            said = partial.decode(message)
            if said.envelope.record is PARTIAL:
                evaluator.take(message.offset, *said)
            else:
                said = stopwatch.time("evaluate, pieces decoded", lambda m=message: partial.decode(m))
                stopwatch.time("evaluate, pieces taken", lambda m=message, s=said: evaluator.take(m.offset, *s))
        evaluator.close()
        while evaluator.is_behind:
            evaluator.close()
    figures = {name: spent / 60 for name, spent in stopwatch.spent.items()}
    for stage in ("roll up", "evaluate"):
        figures[f"{stage}, all of minutes"] = sum(v for name, v in figures.items() if name.startswith(f"{stage},"))
    figures["evaluate, longest hold"] = longest
    figures |= {f"bytes a minute, {kind}": size / SECONDS * 60 for kind, size in load.bytes.items()}
    figures |= {f"bytes a minute, {table} told": size for table, size in sent.items()}
    return figures | {f"rows a minute, {table}": count for table, count in rows.items()}


def main() -> None:
    for name, value in measure().items():
        unit = "bytes" if "bytes" in name else "rows" if "rows" in name else "s" if "longest" in name else "core"
        most = 0.02 if "all of minutes" in name else 0.03 if "longest" in name else None
        tell(name, value, unit, most=most)


if __name__ == "__main__":
    main()
