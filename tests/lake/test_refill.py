"""Rows of damaged files come back from Kafka, each once; what Kafka no longer has is told as lost."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from deltalake import DeltaTable

from broker.admin import admin, create_topics
from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.producer import Producer
from schemas.arrow import encode, headers
from schemas.errors import UnavailableError
from schemas.gpu import GPU
from schemas.health import LakeHealth, decode_health
from schemas.message import Message
from sinks.lake.flush import Tables
from sinks.lake.ledger import Ledger
from sinks.lake.log_check import check_log
from sinks.lake.positions import Source
from sinks.lake.tables import TABLES
from sinks.upkeep.damage import missing_note, read_damage
from sinks.upkeep.refill import Kafka, refill
from sinks.upkeep.scrub import scrub
from sinks.upkeep.settings import UpkeepSettings
from sinks.upkeep.small import Compaction
from tests.conftest import REPOSITORY
from tests.lake.readings import GPU_TOPIC, START, gpu_frame, rows_of
from tests.lake.writers import wait_until

pytestmark = pytest.mark.kafka
NOW = datetime(2026, 3, 2, tzinfo=UTC)
PROGRESS_TOPIC = "telemetry.progress.v1"
TOPICS = (GPU_TOPIC, PROGRESS_TOPIC, "windows.site.v1")


@pytest.fixture(scope="module")
def refill_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run a broker with readings of two hours, progress and garbage in its logs."""
    with EmbeddedKafka(tmp_path_factory.mktemp("refill") / "broker", quick_start=True) as broker:
        asyncio.run(create_topics(broker.bootstrap))
        asyncio.run(send(broker.bootstrap))
        yield broker


async def send(bootstrap: str) -> None:
    async with Producer(bootstrap) as producer:
        for number in range(60):
            rack, time = number % 7, START + number % 2 * 3_600_000_000 + number * 1_000_000
            value = encode(GPU, gpu_frame(rack, time, [100.0 + number, 5.0]))
            await producer.send(GPU_TOPIC, value, key=b"%d" % rack, headers=headers(GPU))
            progress = {"time": "2026-03-01T12:00:00Z", "job": f"job-{number}", "steps": number}
            await producer.send(PROGRESS_TOPIC, json.dumps(progress).encode(), key=b"job")
            await producer.send("windows.site.v1", b"garbage %d" % number, key=b"key")
            await producer.flush()


def write_all(bootstrap: str, lake: Path) -> Tables:
    """Write what the logs hold in six flushes."""
    tables = Tables(lake, "event")
    for sixth in range(6):
        pending: dict[Source, list[Message]] = {}
        for topic in TOPICS:
            for message in asyncio.run(read_to_end(bootstrap, topic)):
                pending.setdefault(Source(topic, message.partition), []).append(message)
        cut = {
            source: found[len(found) * sixth // 6 : len(found) * (sixth + 1) // 6] for source, found in pending.items()
        }
        tables.flush({source: found for source, found in cut.items() if found}, None)
    return tables


def write_partitions(bootstrap: str, lake: Path, parities: list[int]) -> Tables:
    """Write a flush of the even partitions, or of the odd ones, or both: their bounds touch each other."""
    tables = Tables(lake, "event")
    for parity in parities:
        pending: dict[Source, list[Message]] = {}
        for topic in TOPICS:
            for message in asyncio.run(read_to_end(bootstrap, topic)):
                if message.partition % 2 == parity:
                    pending.setdefault(Source(topic, message.partition), []).append(message)
        tables.flush(pending, None)
    return tables


def rows_by_table(lake: Path) -> dict[str, list[object]]:
    return {table.name: rows_of(lake, table.name).to_pylist() for table in TABLES if table.topics}


def damage(lake: Path, table: str, which: slice) -> int:
    """Flip a bit in some of the live files of a table; return how many."""
    paths = [Path(uri) for uri in sorted(DeltaTable(str(lake / table)).file_uris())][which]
    for path in paths:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    return len(paths)


@pytest.mark.parametrize("which", [slice(0, 1), slice(2, 5), slice(None)])
@pytest.mark.parametrize("tables", [("gpu",), ("progress", "rejected"), ("gpu", "progress", "rejected")])
def test_a_refilled_lake_is_the_undamaged_one_row_for_row(
    refill_kafka: EmbeddedKafka, tmp_path: Path, which: slice, tables: tuple[str, ...]
) -> None:
    write_all(refill_kafka.bootstrap, tmp_path)
    before = rows_by_table(tmp_path)
    damaged = sum(damage(tmp_path, table, which) for table in tables)
    assert len(scrub(tmp_path, NOW, UpkeepSettings(), 60).damaged) == damaged > 0
    assert rows_by_table(tmp_path) != before
    done = refill(tmp_path, Kafka(refill_kafka.bootstrap, "event"), NOW)
    assert [(each.refilled, each.lost) for each in done] == [(each.rows, 0) for each in done]
    assert len(done) == damaged
    assert rows_by_table(tmp_path) == before
    assert [check_log(table.folder(tmp_path)) for table in TABLES] == [[]] * len(TABLES)
    assert missing_note(tmp_path) is None
    assert refill(tmp_path, Kafka(refill_kafka.bootstrap, "event"), NOW) == []
    assert "all are refilled from Kafka" in str(read_damage(tmp_path)[0])


@pytest.mark.parametrize("which", [slice(0, 1), slice(None)])
def test_hours_that_were_compacted_come_back_too(refill_kafka: EmbeddedKafka, tmp_path: Path, which: slice) -> None:
    write_all(refill_kafka.bootstrap, tmp_path)
    before = rows_by_table(tmp_path)
    later = datetime.now(UTC) + timedelta(days=1)
    assert list(Compaction()(tmp_path, later))
    assert rows_by_table(tmp_path) == before
    damaged = sum(damage(tmp_path, table, which) for table in ("gpu", "progress"))
    assert len(scrub(tmp_path, NOW, UpkeepSettings(), 60).damaged) == damaged
    done = refill(tmp_path, Kafka(refill_kafka.bootstrap, "event"), NOW)
    assert [each.lost for each in done] == [0] * damaged
    assert rows_by_table(tmp_path) == before
    list(Compaction()(tmp_path, later))
    assert rows_by_table(tmp_path) == before


def test_what_the_writer_has_not_read_yet_is_left_to_it(refill_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Twice would be one too many: other partitions have rows of the same racks and moments behind the positions."""
    write_all(refill_kafka.bootstrap, tmp_path / "whole")
    write_partitions(refill_kafka.bootstrap, tmp_path / "half", [0])
    damage(tmp_path / "half", "gpu", slice(None))
    scrub(tmp_path / "half", NOW, UpkeepSettings(), 60)
    refill(tmp_path / "half", Kafka(refill_kafka.bootstrap, "event"), NOW)
    assert not {place % 2 for place in rows_of(tmp_path / "half", "gpu").column("_partition").to_pylist()} - {0}
    write_partitions(refill_kafka.bootstrap, tmp_path / "half", [1])
    assert rows_by_table(tmp_path / "half") == rows_by_table(tmp_path / "whole")


def test_a_neighbour_that_is_damaged_too_is_not_believed(refill_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    write_partitions(refill_kafka.bootstrap, tmp_path, [0, 1])
    before = rows_by_table(tmp_path)
    damage(tmp_path, "gpu", slice(0, 1))
    assert len(scrub(tmp_path, NOW, UpkeepSettings(), 60).damaged) == 1
    damage(tmp_path, "gpu", slice(0, 1))  # since it was hashed
    kafka = Kafka(refill_kafka.bootstrap, "event")
    assert refill(tmp_path, kafka, NOW) == []
    assert [each.lost for each in refill(tmp_path, kafka, NOW)] == [0, 0]
    assert rows_by_table(tmp_path) == before


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_around_the_commit_of_a_refill_is_made_good(
    refill_kafka: EmbeddedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """After it, the rows are there: who looks for them anew finds none, and would call them lost."""
    write_all(refill_kafka.bootstrap, tmp_path)
    before, replace, kafka = rows_by_table(tmp_path), Ledger.replace, Kafka(refill_kafka.bootstrap, "event")
    damage(tmp_path, "progress", slice(0, 2))
    scrub(tmp_path, NOW, UpkeepSettings(), 60)

    def killed(self: Ledger, *given: Any) -> None:
        if moment == "after":
            replace(self, *given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "replace", killed)
        refill(tmp_path, kafka, NOW)
    assert [each.lost for each in refill(tmp_path, kafka, NOW)] == [0, 0]
    assert rows_by_table(tmp_path) == before
    assert missing_note(tmp_path) is None


def test_without_a_broker_the_rows_stay_missing_and_are_asked_for_again(
    refill_kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    write_all(refill_kafka.bootstrap, tmp_path)
    before = rows_by_table(tmp_path)
    damage(tmp_path, "gpu", slice(0, 2))
    scrub(tmp_path, NOW, UpkeepSettings(), 60)
    with pytest.raises(UnavailableError, match="no Kafka answers"):
        refill(tmp_path, Kafka("127.0.0.1:1", "event"), NOW)
    assert [each.lost for each in read_damage(tmp_path)] == [None, None]
    refill(tmp_path, Kafka(refill_kafka.bootstrap, "event"), NOW)
    assert rows_by_table(tmp_path) == before


def test_the_worker_of_upkeep_does_it_by_itself_and_says_how_the_lake_does(
    refill_kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    write_all(refill_kafka.bootstrap, tmp_path)
    before = rows_by_table(tmp_path)
    damage(tmp_path, "progress", slice(0, 2))
    words = ["worker", "upkeep", "--bootstrap", refill_kafka.bootstrap, "--lake", str(tmp_path), "--clock", "event"]
    worker = subprocess.Popen(
        [sys.executable, "-m", "wattline", *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: [each.lost for each in read_damage(tmp_path)] == [0, 0])
        assert rows_by_table(tmp_path) == before
        wait_until(lambda: lake_told(refill_kafka.bootstrap) is not None)
    finally:
        worker.terminate()
        assert worker.wait(20) == 0
    told = lake_told(refill_kafka.bootstrap)
    assert told is not None and (told.set_aside_files, told.missing_rows) == (2, 0)
    assert told.live_bytes["progress"] > 0 and told.growth_bytes_a_day["progress"] > 0


def lake_told(bootstrap: str) -> LakeHealth | None:
    """Return what upkeep last said of its lake."""
    records = asyncio.run(read_to_end(bootstrap, "health.v1"))
    said = [decode_health(each).lake for each in records if each.key == b"upkeep-0" and each.value]
    return next((lake for lake in reversed(said) if lake), None)


def test_what_kafka_no_longer_has_is_told_as_lost(refill_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Last of the file: it deletes records."""
    write_all(refill_kafka.bootstrap, tmp_path)
    damage(tmp_path, "progress", slice(None))
    found = scrub(tmp_path, NOW, UpkeepSettings(), 60).damaged
    assert sum(each.rows for each in found) == 60

    async def cut() -> None:
        async with admin(refill_kafka.bootstrap) as client:
            await client.delete_records({TopicPartition(PROGRESS_TOPIC, 0): RecordsToDelete(before_offset=23)})

    asyncio.run(cut())
    done = refill(tmp_path, Kafka(refill_kafka.bootstrap, "event"), NOW)
    assert sum(each.lost or 0 for each in done) == 23
    assert rows_of(tmp_path, "progress").column("steps").to_pylist() == list(range(23, 60))
    assert missing_note(tmp_path) == (
        "23 rows of progress are missing from this lake: their files were damaged. See FROM damage"
    )
