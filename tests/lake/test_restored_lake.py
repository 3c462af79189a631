"""Backup and restore with a real writer on a real Kafka: the lake is lost, and every row is there once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.embedded import EmbeddedKafka
from sinks.lake.start import RESTORING
from sinks.lake.status import read_status
from tests.lake.readings import rows_of
from tests.lake.test_writer import finish, wait_for_the_end
from tests.lake.writers import Feeder, WriterProcess, feed_once, wait_until
from wattline.commands.lake import command

pytestmark = pytest.mark.kafka


def call(*words: object) -> str:
    answer = CliRunner().invoke(command, [str(word) for word in words])
    assert answer.exit_code == 0, answer.output + repr(answer.exception)
    return answer.stdout


def test_a_lake_that_is_lost_comes_back_from_a_backup_taken_while_it_was_written(
    lake_kafka: EmbeddedKafka, start_writer: Callable[..., WriterProcess], tmp_path: Path
) -> None:
    lake, backup = tmp_path / "lake", tmp_path / "backup"
    writer = start_writer()
    with Feeder(lake_kafka.bootstrap):
        writer.wait_for("offsets committed", 2)
        for _ in range(2):
            call("backup", backup, "--lake", lake, "--keep", 1)
            written = len(writer.lines)
            wait_until(lambda: "offsets committed" in writer.lines[written:], writer.latest)  # noqa: B023
    (manifest,) = backup.glob("points/*/point.json")
    backed_up = json.loads(manifest.read_bytes())["tables"]["gpu"]["rows"]
    writer.kill()
    assert rows_of(lake, "gpu").num_rows > backed_up > 0
    shutil.rmtree(lake)
    assert "Start the writer" in call("restore", backup, lake)
    assert rows_of(lake, "gpu").num_rows == backed_up
    assert {table.table: table.version for table in read_status(lake)}["gpu"] > 0
    feed_once(lake_kafka.bootstrap, 20)
    finish(lake_kafka.bootstrap, start_writer(), lake)


def test_a_writer_refuses_a_lake_that_is_half_restored(
    lake_kafka: EmbeddedKafka, start_writer: Callable[..., WriterProcess], tmp_path: Path
) -> None:
    """Tables that are not there yet would begin anew, empty, at the start of their logs."""
    lake = tmp_path / "lake"
    writer = start_writer()
    writer.wait_for("assigned")
    wait_for_the_end(lake_kafka.bootstrap, lake, writer)
    assert writer.stop() == 0
    call("backup", tmp_path / "backup", "--lake", lake)
    shutil.rmtree(lake)
    lake.mkdir()
    (lake / RESTORING).write_text("2026-03-01T130000Z of /backup")
    refused = start_writer()
    assert refused.popen.wait(40) != 0
    assert refused.has_said("is half restored here; run `wattline lake restore` again")
    assert not (lake / "gpu").exists()
