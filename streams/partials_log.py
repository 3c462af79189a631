"""The messages of `windows.rack.v1`, whatever they carry, decoded: those of a drain as one where they can be. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from schemas import job_partial, partial
from schemas.errors import RejectedRecordError
from schemas.message import Message
from schemas.partial import Partial

Said = Partial | pl.DataFrame | RejectedRecordError
"""A partial, rows of JOB_PARTIAL, or why a message is neither."""


def decoded(messages: Sequence[Message], max_decoded_bytes: int) -> list[tuple[Message, Said]]:
    """Return what each message says, in order."""
    is_of_jobs = [job_partial.is_job_partial(message) for message in messages]
    others = [message for message, is_theirs in zip(messages, is_of_jobs, strict=True) if not is_theirs]
    partials = iter(partial.decode_all(others, max_decoded_bytes))
    return [
        (message, _of_jobs(message, max_decoded_bytes) if is_theirs else next(partials))
        for message, is_theirs in zip(messages, is_of_jobs, strict=True)
    ]


def _of_jobs(message: Message, max_decoded_bytes: int) -> Said:
    try:
        return job_partial.decode(message, max_decoded_bytes)
    except RejectedRecordError as error:
        return error
