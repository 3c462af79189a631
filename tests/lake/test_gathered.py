"""What a writer has gathered: gaps, repeats, and when it is time to write."""

from __future__ import annotations

import pytest

from schemas.message import Message
from schemas.refused_batch import RefusedBatch
from sinks.lake.gathered import GapError, Gathered
from sinks.lake.positions import Source

GPU, JOBS = Source("telemetry.gpu.v1", 2), Source("telemetry.jobs.v1", 0)


def messages(source: Source, *offsets: int) -> list[Message]:
    return [Message(source.topic, source.partition, offset, 0, None, b"1234") for offset in offsets]


def gathered() -> Gathered:
    found = Gathered(frozenset({JOBS.topic}))
    found.begin({GPU: 5, JOBS: 0})
    return found


def test_offsets_below_the_next_are_left_out() -> None:
    it = gathered()
    it.add(GPU, messages(GPU, 3, 4, 5, 6), 0.0)
    it.add(GPU, messages(GPU, 6, 7), 0.0)
    assert [message.offset for message in it.take()[GPU]] == [5, 6, 7]
    it.add(GPU, messages(GPU, 7), 0.0)
    assert it.take() == {}


@pytest.mark.parametrize("offsets", [(6,), (5, 7), (4, 5, 6, 9, 10)])
def test_a_gap_is_an_error_that_says_what_was_next(offsets: tuple[int, ...]) -> None:
    with pytest.raises(GapError, match="is next and the client went on at"):
        gathered().add(GPU, messages(GPU, *offsets), 0.0)


def test_a_compacted_topic_has_gaps() -> None:
    it = gathered()
    it.add(JOBS, messages(JOBS, 4, 9), 0.0)
    assert [message.offset for message in it.take()[JOBS]] == [4, 9]


def test_a_message_that_stands_for_a_batch_covers_its_offsets() -> None:
    it = gathered()
    batch = RefusedBatch("too_large", 5, 8, "expands without end")
    it.add(GPU, [Message(GPU.topic, 2, 8, 0, None, b"", tuple(batch.headers())), *messages(GPU, 9)], 0.0)
    assert [message.offset for message in it.take()[GPU]] == [8, 9]


def test_it_is_due_by_age_of_the_oldest_or_by_size() -> None:
    it = gathered()
    assert not it.is_due(1e9, flush_secs=10, flush_bytes=100)
    it.add(GPU, messages(GPU, 5), 50.0)
    it.add(GPU, messages(GPU, 6), 59.0)
    assert not it.is_due(59.9, flush_secs=10, flush_bytes=100)
    assert it.is_due(60.0, flush_secs=10, flush_bytes=100)
    assert it.is_due(59.0, flush_secs=10, flush_bytes=8)
    it.take()
    assert not it.is_due(1e9, flush_secs=10, flush_bytes=8)
