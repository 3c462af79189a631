"""The writer on a real Kafka: what kills, stops, zombies and a lost broker do to the rows (nothing)."""

from __future__ import annotations

import asyncio
import hashlib
import random
import resource
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import polars as pl
import pyarrow as pa
import pytest

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from sinks.lake.log_reader import read_ends
from sinks.lake.rows import read_rows
from sinks.lake.status import read_status, sources_of
from sinks.lake.tables import TABLES, TOPICS
from tests.lake.readings import rows_of
from tests.lake.writers import Feeder, WriterProcess, feed_once, wait_until

pytestmark = pytest.mark.kafka

Start = Callable[..., WriterProcess]

STEPS = [
    "gathered",
    "decoded",
    "file written",
    "file synced",
    "file named",
    "files named",
    "entry written",
    "entry synced",
    "offsets committed",
]


def sums(rows: pa.Table) -> tuple[int, list[str]]:
    """Return the number of rows and a checksum of each whole row, sorted."""
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    texts = frame.select(sorted(frame.columns)).rows()
    return len(texts), sorted(hashlib.sha256(repr(row).encode()).hexdigest() for row in texts)


def expected_rows(bootstrap: str) -> dict[str, pa.Table]:
    """Return what the tables must hold: every message of the log, decoded once."""
    parts: dict[str, list[pa.Table]] = {}
    for topic in TOPICS:
        for name, rows in read_rows(topic, asyncio.run(read_to_end(bootstrap, topic)), None, "wall").items():
            parts.setdefault(name, []).append(rows)
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}


def assert_exactly_once(bootstrap: str, lake: Path) -> None:
    """Compare every table with the log, row by row."""
    for name, expected in expected_rows(bootstrap).items():
        found = rows_of(lake, name)
        assert sums(found)[0] == sums(expected)[0], name
        if expected.num_rows:
            assert sums(found) == sums(expected), name


def test_no_row_is_lost_or_doubled_by_kills_at_any_moment(
    lake_kafka: EmbeddedKafka, start_writer: Start, tmp_path: Path
) -> None:
    chance = random.Random(4)
    lives: list[tuple[str, int]] = [(step, chance.randint(1, 3)) for step in STEPS] + [("", 0)] * 10
    chance.shuffle(lives)
    with Feeder(lake_kafka.bootstrap):
        for step, occurrence in lives:
            writer = start_writer(step=step, occurrence=occurrence)
            if step:
                assert writer.popen.wait(40) == -signal.SIGKILL, step
            else:
                writer.wait_for("assigned")
                with suppress(subprocess.TimeoutExpired):
                    writer.popen.wait(chance.uniform(0.0, 0.6))
                writer.kill()
    finish(lake_kafka.bootstrap, start_writer(), tmp_path / "lake")


def finish(bootstrap: str, writer: WriterProcess, lake: Path) -> None:
    """Let a writer come to the end of the log, end it cleanly, and compare the lake with the log."""
    writer.wait_for("assigned")
    wait_for_the_end(bootstrap, lake, writer)
    assert writer.stop() == 0
    assert_exactly_once(bootstrap, lake)


def wait_for_the_end(bootstrap: str, lake: Path, writer: WriterProcess) -> None:
    """Wait until every table stands at the end of every log as it is now."""
    sources = {source for table in TABLES for source in sources_of(table)}
    ends = asyncio.run(read_ends(bootstrap, sources))
    wait_until(
        lambda: all(lag <= 0 for status in read_status(lake, ends) for lag in (status.lag or {}).values()),
        writer.latest,
    )


def test_a_zombie_that_wakes_in_the_middle_of_a_flush_adds_nothing(
    lake_kafka: EmbeddedKafka, start_writer: Start, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    with Feeder(lake_kafka.bootstrap):
        zombie = start_writer(step="files named", occurrence=7, number="SIGSTOP", slot=0)
        wait_until(lambda: is_stopped(zombie.popen.pid), zombie.latest)
        heir = start_writer(slot=1)
        heir.wait_for("offsets committed", 2)  # the session of the zombie is over, the heir has its partitions
        zombie.popen.send_signal(signal.SIGCONT)
        woken = len(zombie.lines)
        wait_until(lambda: "offsets committed" in zombie.lines[woken:], zombie.latest)  # it takes its share again
        assert heir.stop() == 0
        assert zombie.stop() == 0
    assert zombie.has_said("another writer has moved")
    finish(lake_kafka.bootstrap, start_writer(), lake)


def is_stopped(pid: int) -> bool:
    """Tell whether a process has been stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_second_process_of_one_slot_stands_by_until_the_first_is_gone(
    lake_kafka: EmbeddedKafka, start_writer: Start, tmp_path: Path
) -> None:
    first = start_writer()
    first.wait_for("offsets committed")
    second = start_writer()
    wait_until(lambda: second.has_said("slot 0 is held by another process; standing by"), second.latest)
    feed_once(lake_kafka.bootstrap, 20)
    first.kill()
    second.wait_for("offsets committed")
    finish(lake_kafka.bootstrap, second, tmp_path / "lake")


def test_a_writer_that_is_asked_to_end_writes_what_it_has_gathered(
    lake_kafka: EmbeddedKafka, start_writer: Start, tmp_path: Path
) -> None:
    feed_once(lake_kafka.bootstrap, 20)
    writer = start_writer(flush_secs=3600.0)
    writer.wait_for("gathered")
    asked = monotonic()
    assert writer.stop() == 0
    assert monotonic() - asked < 8
    assert sum(rows_of(tmp_path / "lake", table).num_rows for table in ("gpu", "power")) > 0
    finish(lake_kafka.bootstrap, start_writer(), tmp_path / "lake")


def test_a_broker_that_goes_away_and_comes_back_is_waited_for(
    lake_kafka: EmbeddedKafka, start_writer: Start, tmp_path: Path
) -> None:
    writer = start_writer()
    writer.wait_for("offsets committed")
    (node,) = lake_kafka.nodes
    node.kill()
    node.start()
    feed_once(lake_kafka.bootstrap, 20)
    finish(lake_kafka.bootstrap, writer, tmp_path / "lake")


def test_a_writer_ends_cleanly_while_the_broker_is_away(
    lake_kafka: EmbeddedKafka, start_writer: Start, tmp_path: Path
) -> None:
    """Fails where the CancelledError that aiokafka's stop lets out counts as an error of the writer."""
    writer = start_writer(flush_secs=3600.0)
    writer.wait_for("gathered")
    (node,) = lake_kafka.nodes
    node.kill()
    assert writer.stop() == 0, writer.latest()
    node.start()
    assert writer.has_said("entry synced")
    finish(lake_kafka.bootstrap, start_writer(), tmp_path / "lake")


def test_a_disk_that_is_full_for_a_while_costs_nothing_but_time(
    lake_kafka: EmbeddedKafka, start_writer: Start, tmp_path: Path
) -> None:
    writer = start_writer()
    writer.wait_for("offsets committed")
    _, most = resource.prlimit(writer.popen.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(writer.popen.pid, resource.RLIMIT_FSIZE, (0, most))  # no file may grow
    feed_once(lake_kafka.bootstrap, 20)
    wait_until(lambda: writer.has_said("nothing is lost, Kafka keeps the rows until its retention ends"), writer.latest)
    resource.prlimit(writer.popen.pid, resource.RLIMIT_FSIZE, (most, most))
    finish(lake_kafka.bootstrap, writer, tmp_path / "lake")


def test_a_log_torn_by_a_loss_of_power_is_mended_at_the_start_and_refilled(
    lake_kafka: EmbeddedKafka, start_writer: Start, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    feed_once(lake_kafka.bootstrap, 20)
    finish(lake_kafka.bootstrap, start_writer(), lake)
    for table in ("gpu", "progress", "rejected"):
        newest = sorted((lake / table / "_delta_log").glob("*.json"))[-1]
        newest.write_bytes(b"\n".join(newest.read_bytes().splitlines()[:-2]))
    writer = start_writer()
    finish(lake_kafka.bootstrap, writer, lake)
    assert writer.has_said("are set aside and refilled from Kafka")
