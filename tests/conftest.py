"""Fixtures that every room's tests share: one embedded Kafka a run, topics of one's own, recorded data."""

from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.admin import create_topics
from broker.embedded import EmbeddedKafka
from schemas.topics import Topic

REPOSITORY = Path(__file__).resolve().parent.parent
SMALL_DISK_MEGABYTES = 64


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for a broker, so that `-m "not kafka"` is the quick run."""
    for item in items:
        if {"kafka", "fresh_kafka"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End a soak with the one line that others read."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if config.option.markexpr == "soak" and reporter is not None:
        passed, failed, broken = (len(reporter.stats.get(outcome, ())) for outcome in ("passed", "failed", "error"))
        print(f"{passed} passed, {failed + broken} failed")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run the one embedded Kafka of a test run; no topics: use `new_topic`, names of one's own."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka") / "shared", quick_start=True) as broker:
        yield broker


@pytest.fixture
def new_topic(kafka: EmbeddedKafka) -> Callable[..., str]:
    """Return a function that creates a topic of a unique name on `kafka` and returns the name.

    `new_topic("readings", partitions=4, cleanup="compact", max_message_bytes=…)`; the keywords are Topic's.
    """

    def create(stem: str = "topic", partitions: int = 1, cleanup: str = "delete", **columns: object) -> str:
        topic = Topic(f"{stem}-{uuid.uuid4().hex[:8]}", partitions, "key", cleanup, "a test's messages", **columns)
        asyncio.run(create_topics(kafka.bootstrap, topics=[topic]))
        return topic.name

    return create


@pytest.fixture
def fresh_kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """Run an embedded Kafka for this test alone, with all topics of the product: streams use fixed names."""
    with EmbeddedKafka(tmp_path / "kafka", quick_start=True) as broker:
        asyncio.run(create_topics(broker.bootstrap))
        yield broker


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of a few megabytes; only root may."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MEGABYTES}m", "none", os.fspath(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        absent = "a disk of its own cannot be mounted: run as root"
        pytest.fail(absent) if os.environ.get("CI") else pytest.skip(absent)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of recorded data; skip with what to set where it is absent, fail in CI."""
    for folder in _shared_folders():
        if (folder / "data" / "reference.json").is_file():
            return folder / "data"
    absent = (
        "recorded data is absent: set WATTLINE_SHARED to the folder `shared` (the one that holds data/reference.json)"
    )
    if os.environ.get("CI"):
        pytest.fail(absent)
    pytest.skip(absent)


def _shared_folders() -> Iterator[Path]:
    if named := os.environ.get("WATTLINE_SHARED"):
        yield Path(named)
        return
    yield from (parent / "shared" for parent in REPOSITORY.parents)
