"""The archive of Kafka's classes is a saving and never a condition."""

from __future__ import annotations

import asyncio
import os

from broker import classes, jars, java
from broker.admin import partitions
from broker.embedded import EmbeddedKafka


def test_kafka_starts_without_an_archive_and_with_a_damaged_one(tmp_path, monkeypatch):
    whole = jars.folder()
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    (tmp_path / "wattline").mkdir()
    jars.folder().symlink_to(whole)
    runtime = java.find()
    assert classes.options(runtime) == []
    classes.archive(runtime).write_bytes(b"not an archive" * 10_000)
    assert classes.options(runtime)
    with EmbeddedKafka(tmp_path / "kafka", quick_start=True) as kafka:
        assert asyncio.run(partitions(kafka.bootstrap)) == {}


def test_another_java_has_another_archive():
    runtime = java.find()
    other = java.Java(runtime.program, "99.0.1", runtime.found_in)
    assert classes.archive(runtime) != classes.archive(other)
