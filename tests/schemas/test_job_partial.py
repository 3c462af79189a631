"""Seconds of jobs as messages: what is encoded comes back, and what is none is refused by name."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas import partial
from schemas.errors import RejectedRecordError
from schemas.job_partial import JOB_PARTIAL, decode, encode, is_job_partial
from schemas.message import Message

ROW = {"second": 0, "partition": 3, "subject": 77, "job_record": 9, "coverage": -5, "utilization_sum_e4": 0}
ROW |= {"utilization_count": 0, "reporting": 1, "readings": 1, "digest": 7, "admission": 1, "power_milliwatts": 700_000}


def rows(**columns: object) -> pl.DataFrame:
    given = ROW | columns
    return pl.DataFrame([pl.Series(name, [given.get(name)], dtype=dtype) for name, dtype in JOB_PARTIAL.polars.items()])


def message(frame: pl.DataFrame) -> Message:
    value, headers = encode(frame)
    return Message("windows.rack.v1", 0, 7, 0, b"ruh", value, tuple(headers))


def test_seconds_of_jobs_come_back_and_are_told_from_partials() -> None:
    sent = message(rows())
    assert is_job_partial(sent)
    assert_frame_equal(decode(sent), rows())
    envelope = partial.Envelope("telemetry.gpu.v1", 3, 10, 20, "closing", 0, 1_000_000, 5)
    value, headers = partial.encode(partial.Partial(envelope, partial.PARTIAL.empty()))
    assert not is_job_partial(Message("windows.rack.v1", 0, 8, 0, b"ruh", value, tuple(headers)))


def test_a_second_without_its_record_is_refused() -> None:
    with pytest.raises(RejectedRecordError, match="7: job_record is missing") as refused:
        decode(message(rows(job_record=None)))
    assert (refused.value.reason, refused.value.field) == ("missing_field", "job_record")


def test_a_body_that_is_no_arrow_is_refused() -> None:
    with pytest.raises(RejectedRecordError):
        decode(message(rows())._replace(value=b"no arrow"))
