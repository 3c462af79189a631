"""A worker of the streams that says what it read; run with PART BOOTSTRAP SLOT RULE and a file of rules.

It is the product's stage with two changes. It prints a line a drain, so that a test knows that it was assigned
and reading when it killed it. And a partition counts as idle after 10 s, not 2: a machine that is busy with
tests for so long would otherwise write idle notes, which are what two runs may differ in.

RULE `closed` is the negative proof: it commits what is closed in place of what can no longer be revised.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from schemas.message import Message
from streams import stream
from streams.evaluate_app import EvaluateStage, run_evaluate
from streams.reading import Partition
from streams.roll_up_app import RollUpStage, run_roll_up
from streams.stage import Place

READING = "reading: "


def saying(stage: type[RollUpStage | EvaluateStage]) -> None:
    """Let a stage print how many messages each drain had, after it."""
    drain = stage.drain

    async def drain_and_say(self: RollUpStage, messages: list[Message]) -> Mapping[Partition, Place]:
        places = await drain(self, messages)
        if messages:
            print(f"{READING}{len(messages)} messages", flush=True)
        return places

    stage.drain = drain_and_say  # type: ignore[method-assign]


def place_of_what_is_closed(self: stream.Stream) -> tuple[int, str] | None:
    """Return the place after the message that closed last: what it closed is never read again."""
    if self.next_offset is None:
        return None
    if self.closed is None or self._from_offset is None:
        return self.next_offset, ""
    return self._from_offset, str(self.closed)


def main(part: str, bootstrap: str, slot: int, rule: str, rules: str) -> None:
    """Run one worker until it is killed."""
    stream.IDLE_AFTER_MICROSECONDS = 10_000_000
    if rule == "closed":
        stream.Stream.place = place_of_what_is_closed  # type: ignore[method-assign]
    if part == "roll-up":
        saying(RollUpStage)
        run_roll_up(bootstrap, slot=slot, clock="event")
    saying(EvaluateStage)
    run_evaluate(bootstrap, slot=slot, clock="event", rules=Path(rules))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
