"""Recomputations on `recomputations.v1`: who asks for windows to be made anew from the lake, and what came of it. JSON.

Asked for is a stretch of whole seconds whose windows lack something: readings that came later than the
horizon, messages that were gone before they were read, two workers that hold different halves, a facility or
a job that was told afterwards. It can be answered once the lake holds the log up to the message that gave
the reason.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.errors import RejectedRecordError
from schemas.message import Message

TOPIC = "recomputations.v1"
HEADERS = (("content-type", b"application/json"), ("schema", b"recomputation/1"))

Reason = Literal["late", "lost", "conflict", "facility", "jobs", "hand"]


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """Ask for the windows of `[first_second, end_second)`, UTC µs, to be recomputed; `site` None = of every site.

    The lake must hold `topic` and `partition` up to `offset`, not included.
    """

    site: str | None
    first_second: int
    end_second: int
    reason: Reason
    topic: str
    partition: int
    offset: int


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """Say what came of the requests before `answers`, an offset of this topic, in `[first_second, end_second)`.

    A long stretch is answered in slices: what a request asks for after `end_second` is still open.
    `generation` is that of the windows that were sent; None where the raw rows are incomplete: then the windows
    stay as they are for good, `final_because` says why and `message` says what is missing.
    """

    site: str | None
    first_second: int
    end_second: int
    answers: int
    generation: int | None = None
    final_because: Literal["retention"] | None = None
    message: str = ""


def encode(record: Asked | Answered) -> bytes:
    """Return the value of a message."""
    return msgspec.json.encode(record)


def decode(message: Message) -> Asked | Answered:
    """Return the record of a message; raise RejectedRecordError where it is none."""
    try:
        return msgspec.json.decode(message.value or b"", type=Asked | Answered)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedRecordError("wrong_type", f"{message.place}: is no recomputation: {error}") from error
