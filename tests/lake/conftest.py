"""One Kafka with every topic for the tests of the lake writer, and writers that end with their test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.admin import create_topics
from broker.embedded import EmbeddedKafka
from tests.lake.writers import WriterProcess, feed_once


@pytest.fixture(scope="session")
def lake_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run a broker with all topics, and something in them, for the tests of the lake writer."""
    with EmbeddedKafka(tmp_path_factory.mktemp("lake-kafka") / "broker", quick_start=True) as broker:
        asyncio.run(create_topics(broker.bootstrap))
        feed_once(broker.bootstrap, 20)
        yield broker


@pytest.fixture(scope="session")
def progress_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run a broker whose topics are deleted, cut and made anew."""
    with EmbeddedKafka(tmp_path_factory.mktemp("lost-logs") / "broker", quick_start=True) as broker:
        asyncio.run(create_topics(broker.bootstrap))
        yield broker


@pytest.fixture
def start_writer(lake_kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[Callable[..., WriterProcess]]:
    """Return a function that starts a writer of the test's own lake and group; all end with the test."""
    started: list[WriterProcess] = []

    def start(
        *, step: str = "", occurrence: int = 1, number: str = "SIGKILL", slot: int = 0, **settings: object
    ) -> WriterProcess:
        quick = {"flush_secs": 0.25, "session_timeout_secs": 2.0, "fetch_wait_ms": 100}
        options = {
            "bootstrap": lake_kafka.bootstrap,
            "lake": str(tmp_path / "lake"),
            "settings": {"slot": slot, **quick, **settings},
            "step": step,
            "occurrence": occurrence,
            "signal": number,
        }
        started.append(WriterProcess(options))
        return started[-1]

    yield start
    for writer in started:
        writer.kill()
