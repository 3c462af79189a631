"""`wattline lake adopt` on a real Kafka: the writer halts, a person adopts, it goes on, no row is doubled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner, Result
from deltalake import DeltaTable

from broker.embedded import EmbeddedKafka
from schemas.errors import DataLossError, UnavailableError
from sinks.lake.flush import Tables
from sinks.lake.ledger import Ledger, read_epochs, read_position
from sinks.lake.locks import lake_lock
from sinks.lake.positions import Position, Source, epoch_of
from sinks.lake.tables import BY_NAME
from sinks.sql.connection import connect
from sinks.upkeep.adoptions import without_writers
from tests.lake.progress_log import (
    SOURCE,
    TOPIC,
    cut_out,
    delete_before,
    make_anew,
    send,
    steps_of,
    write_to_the_end,
)
from tests.lake.readings import START, json_message, rows_of
from wattline.commands.lake import command

pytestmark = pytest.mark.kafka

Change = Callable[[EmbeddedKafka], None]


def adopt(kafka: EmbeddedKafka, lake: Path, *options: str) -> Result:
    arguments = ["adopt", "--lake", str(lake), "--bootstrap", kafka.bootstrap, *options]
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def shorter(kafka: EmbeddedKafka) -> None:
    asyncio.run(make_anew(kafka.bootstrap))
    asyncio.run(send(kafka.bootstrap, range(100, 102)))


def longer(kafka: EmbeddedKafka) -> None:
    asyncio.run(make_anew(kafka.bootstrap))
    asyncio.run(send(kafka.bootstrap, range(100, 109)))


def empty(kafka: EmbeddedKafka) -> None:
    asyncio.run(make_anew(kafka.bootstrap))


def cut_by_retention(kafka: EmbeddedKafka) -> None:
    asyncio.run(send(kafka.bootstrap, range(5, 9)))
    asyncio.run(delete_before(kafka.bootstrap, 8))


def rewound(kafka: EmbeddedKafka) -> None:
    cut_out(kafka, range(3, 5))


def rewound_and_grown(kafka: EmbeddedKafka) -> None:
    cut_out(kafka, range(3, 5))
    asyncio.run(send(kafka.bootstrap, range(100, 104)))


def with_a_hole(kafka: EmbeddedKafka) -> None:
    asyncio.run(send(kafka.bootstrap, range(5, 10)))
    cut_out(kafka, range(6, 8))


class Case(NamedTuple):
    """Say what happens to a log, what is said of it, what is lost, and what is written after it was adopted."""

    change: Change
    said: str
    cause: str
    lost: int | None
    rest: list[int]


CASES = [
    Case(shorter, "the log ends at 2: the topic was re-created", "made_anew", None, [100, 101]),
    Case(longer, "was re-created and has grown past the position", "made_anew", None, [*range(100, 109)]),
    Case(empty, "the log ends at 0: the topic was re-created", "made_anew", None, []),
    Case(cut_by_retention, "3 messages after .* were deleted by retention", "retention", 3, [8]),
    Case(rewound, "the log ends at 3: .* or the broker lost what it had acknowledged", "rewound", None, []),
    Case(rewound_and_grown, "has grown past the position", "rewound", None, [*range(100, 104)]),
    Case(with_a_hole, "offsets 6 to 7 are missing in the log, 2 messages", "hole", 2, [5, 8, 9]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.change.__name__)
def test_a_writer_that_halts_goes_on_once_a_person_has_adopted(
    progress_kafka: EmbeddedKafka, tmp_path: Path, case: Case
) -> None:
    lake = tmp_path / "lake"
    asyncio.run(make_anew(progress_kafka.bootstrap))
    asyncio.run(send(progress_kafka.bootstrap, range(5)))
    asyncio.run(write_to_the_end(progress_kafka.bootstrap, lake))
    case.change(progress_kafka)
    with pytest.raises(DataLossError, match=f"(?s){case.said}.*wattline lake adopt"):
        asyncio.run(asyncio.wait_for(write_to_the_end(progress_kafka.bootstrap, lake), 30))

    looked_at = adopt(progress_kafka, lake)
    assert (looked_at.exit_code, "Nothing was changed" in looked_at.stderr) == (1, True)
    assert adopt(progress_kafka, lake).stdout == looked_at.stdout
    with pytest.raises(DataLossError):
        asyncio.run(asyncio.wait_for(write_to_the_end(progress_kafka.bootstrap, lake), 30))

    assert adopt(progress_kafka, lake, "--yes").exit_code == 0
    asyncio.run(send(progress_kafka.bootstrap, range(200, 203)))
    asyncio.run(write_to_the_end(progress_kafka.bootstrap, lake))
    assert "nothing to adopt" in adopt(progress_kafka, lake).stdout
    assert steps_of(lake) == sorted([*range(5), *case.rest, *range(200, 203)])
    (kept,) = rows_of(lake, "adoptions").to_pylist()
    assert (kept["table_name"], kept["topic"]) == ("progress", TOPIC)
    assert (kept["cause"], kept["lost_messages"]) == (case.cause, case.lost)
    assert kept["said"] in looked_at.stdout
    assert_each_place_once(lake)


def assert_each_place_once(lake: Path) -> None:
    """Look at (epoch, offset) of every row: equal offsets of two epochs are told apart by when they were appended."""
    since = read_epochs(DeltaTable(str(lake / "progress")), SOURCE)
    rows = rows_of(lake, "progress").select(["_offset", "_appended"]).to_pylist()
    places = [(epoch_of(int(row["_appended"].timestamp() * 1000), since), row["_offset"]) for row in rows]
    assert len(set(places)) == len(places)


def test_a_topic_may_be_made_anew_again_and_again(progress_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Each time it has as many records, so that every offset comes three times."""
    lake, bootstrap = tmp_path / "lake", progress_kafka.bootstrap
    for life in range(3):
        asyncio.run(make_anew(bootstrap))
        asyncio.run(send(bootstrap, range(10 * life, 10 * life + 4)))
        if life:
            assert adopt(progress_kafka, lake, "--yes").exit_code == 0
        asyncio.run(write_to_the_end(bootstrap, lake))
    assert steps_of(lake) == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    position = read_position(DeltaTable(str(lake / "progress")), SOURCE)
    assert position is not None and (position.epoch, position.next) == (3, 4)
    assert_each_place_once(lake)


def test_nobody_adopts_while_a_writer_lives(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    Tables(lake)
    writer = lake_lock(lake)
    assert writer.try_shared()
    said = pytest.raises(UnavailableError, match=r"is being written to by .*: end it first")
    with said, without_writers(lake, within_secs=0.2):
        raise AssertionError
    writer.release()
    with without_writers(lake, within_secs=0.2):
        assert not lake_lock(lake).try_shared()


async def send_in_transactions(bootstrap: str, numbers: range) -> None:
    """Send one record a transaction: each leaves a marker behind, which takes an offset."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id="flink", acks="all")
    await producer.start()
    for number in numbers:
        async with producer.transaction():
            progress = {"time": "2026-03-01T12:00:00Z", "job": f"job-{number}", "steps": number}
            await producer.send_and_wait(TOPIC, json.dumps(progress).encode(), key=b"job")
    await producer.stop()


def test_markers_of_transactions_are_no_hole(progress_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Fails where only offsets are compared: the first marker halts the writer, and adoption would lose nothing."""
    lake, bootstrap = tmp_path / "lake", progress_kafka.bootstrap
    asyncio.run(make_anew(bootstrap))
    asyncio.run(send_in_transactions(bootstrap, range(4)))
    asyncio.run(send(bootstrap, range(4, 6)))
    asyncio.run(write_to_the_end(bootstrap, lake))
    asyncio.run(send_in_transactions(bootstrap, range(6, 8)))
    asyncio.run(send(bootstrap, range(8, 9)))
    asyncio.run(write_to_the_end(bootstrap, lake))
    assert steps_of(lake) == list(range(9))
    assert "nothing to adopt" in adopt(progress_kafka, lake).stdout


def test_of_a_job_the_record_of_the_newest_epoch_counts(tmp_path: Path) -> None:
    """Fails where the greatest offset counts: a topic that was made anew begins at 0 again."""
    source, tables = Source("telemetry.jobs.v1", 0), Tables(tmp_path)
    for number, state in enumerate(("PENDING", "RUNNING")):
        value = json.dumps({"job": "llama-1", "site": "ruh", "state": state}).encode()
        tables.flush({source: [json_message(source.topic, number, value, b"llama-1")]}, None)
    before = tables.positions(source)["jobs"]
    assert before is not None
    ledger = Ledger(BY_NAME["jobs"], tmp_path)
    ledger.commit([], {source: before}, {source: Position(0, 0, before.appended_milliseconds, epoch=2)})
    value = json.dumps({"job": "llama-1", "site": "ruh", "state": "COMPLETED"}).encode()
    anew = json_message(source.topic, 0, value, b"llama-1")._replace(appended=START + 60_000_000)
    tables.reopen()
    tables.flush({source: [anew]}, None)
    assert connect(tmp_path).sql("SELECT state FROM jobs").fetchall() == [("COMPLETED",)]
