"""How long after Kafka had a row SQL shows it, with the writer's own flush of ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.embedded import EmbeddedKafka
from sinks.sql.connection import connect
from tests.lake.writers import Feeder, WriterProcess

pytestmark = pytest.mark.kafka

BAR_SECS = 15.0
FED_SECS = 25.0


def test_a_row_is_visible_fifteen_seconds_after_kafka_had_it(
    lake_kafka: EmbeddedKafka, start_writer: Callable[..., WriterProcess], tmp_path: Path
) -> None:
    """Of every row that is fed, by Kafka's append time, whenever within a flush it came; each look is a connection."""
    lake = tmp_path / "lake"
    writer = start_writer(flush_secs=10.0)
    writer.wait_for("offsets committed")  # it has started, and caught up with what was there before
    began = datetime.now(UTC).replace(tzinfo=None)
    seen, worst = began, 0.0
    until = time.monotonic() + FED_SECS
    with Feeder(lake_kafka.bootstrap):
        while time.monotonic() < until or seen == began:
            assert time.monotonic() < until + 60, writer.latest()
            asked = "SELECT min(_appended), max(_appended) FROM gpu WHERE _appended > ?"
            first, last = connect(lake).execute(asked, [seen]).fetchall()[0]
            if first is not None:
                worst = max(worst, (datetime.now(UTC).replace(tzinfo=None) - first).total_seconds())
                seen = last
    assert seen > began
    assert 0 < worst <= BAR_SECS, f"a row was first seen {worst:.1f} s after Kafka had it"
