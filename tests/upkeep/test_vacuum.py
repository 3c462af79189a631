"""Vacuum takes what nobody needs: orphans and removed files, in their time, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from deltalake import DeltaTable

from schemas.errors import UnavailableError
from sinks.lake.flush import Tables
from sinks.lake.ledger import Ledger
from sinks.lake.parquet import write_file
from sinks.lake.positions import Source, position_after
from sinks.lake.rows import read_rows
from sinks.lake.tables import BY_NAME
from sinks.sql.connection import connect
from sinks.upkeep.retention import retention_duty
from sinks.upkeep.scrub import scrub
from sinks.upkeep.settings import UpkeepSettings
from sinks.upkeep.small import Compaction
from sinks.upkeep.vacuum import Vacuumed, vacuum
from tests.conftest import REPOSITORY
from tests.lake.readings import GPU_TOPIC, POWER_TOPIC, gpu_message, power_message, rows_of
from wattline.commands.lake import command

TABLE = BY_NAME["gpu"]
SOURCE = Source(GPU_TOPIC, 0)
NOW = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def at(lake: Path, hours: float, *, dry_run: bool = False) -> Vacuumed:
    return vacuum(lake, NOW + timedelta(hours=hours), UpkeepSettings(), dry_run=dry_run)


def lake_of(lake: Path, flushes: range) -> Path:
    tables = Tables(lake, "event")
    for offset in flushes:
        tables.flush({SOURCE: [gpu_message(offset)]}, None)
    return lake


def replace_all(lake: Path) -> list[Path]:
    """Do what a compaction does to the files of `gpu`; return those that it removed."""
    ledger = Ledger(TABLE, lake)
    old, rows = list(ledger.live()), rows_of(lake, "gpu")
    ledger.replace(old, [write_file(rows, "2026-03-01T12", TABLE, ledger.folder, lambda _: None)], "compact/x")
    return [ledger.folder / path for path in old]


def test_a_removed_file_goes_after_a_day_and_a_live_one_never(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(3))
    removed, before = replace_all(lake), rows_of(lake, "gpu")
    assert at(lake, 0).removed == ()
    assert at(lake, 23.9)[:3] == ((), 0, 3)
    assert all(path.exists() for path in removed)
    assert at(lake, 24, dry_run=True).removed_bytes == sum(path.stat().st_size for path in removed)
    assert len(at(lake, 24).removed) == 3
    assert not any(path.exists() for path in removed)
    assert rows_of(lake, "gpu").equals(before)
    assert at(lake, 48)[:3] == ((), 0, 0)


def test_a_question_about_an_older_version_is_answered_for_a_day(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(3))
    version = DeltaTable(str(lake / "gpu")).version()
    at(lake, 0)
    replace_all(lake)
    at(lake, 1)
    at(lake, 24.9)
    assert DeltaTable(str(lake / "gpu"), version=version).to_pyarrow_table().num_rows == 24
    at(lake, 25)
    assert not any(Path(uri).exists() for uri in DeltaTable(str(lake / "gpu"), version=version).file_uris())


def test_a_query_that_holds_an_old_snapshot_is_answered_through_compaction_and_vacuum(tmp_path: Path) -> None:
    """Its files go when `keep_removed_hours` are over, which is never less than the longest query."""
    lake = lake_of(tmp_path, range(3))
    with connect(lake) as held:
        for round_ in range(3):
            lake_of(lake, range(3 + round_, 4 + round_))
            assert list(Compaction()(lake, NOW))
            at(lake, round_ / 3)
            assert len(DeltaTable(str(lake / "gpu")).file_uris()) == 1
            assert held.execute("SELECT count(*), sum(power_watts) FROM gpu").fetchone() == (24, 2424.0)


ORPHAN = """
import os, sys
from pathlib import Path
from sinks.lake.flush import Tables
from sinks.lake.positions import Source
from tests.lake.readings import GPU_TOPIC, gpu_message

tables = Tables(Path(sys.argv[1]), "event", lambda step: os._exit(9) if step == "files named" else None)
tables.flush({Source(GPU_TOPIC, 0): [gpu_message(2)]}, None)
"""


def test_the_orphan_of_a_killed_writer_goes_and_its_rows_come_by_the_next(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(2))
    before = set(lake.rglob("*.parquet"))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.run([sys.executable, "-c", ORPHAN, str(lake)], cwd=REPOSITORY, env=environment, check=False)
    (orphan,) = set(lake.rglob("*.parquet")) - before
    assert killed.returncode == 9 and orphan.parent.name.startswith("hour=")
    lake_of(lake, range(2, 3))
    at(lake, 0)
    assert at(lake, 24).removed == (str(orphan.relative_to(lake)),)
    assert rows_of(lake, "gpu").num_rows == 24


def test_a_file_that_a_live_writer_has_named_and_not_committed_stays(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(2))
    ledger = Ledger(TABLE, lake)
    message = gpu_message(2)
    rows = read_rows(GPU_TOPIC, [message], None, "event")["gpu"]
    file = write_file(rows, "2026-03-01T12", TABLE, ledger.folder, lambda _: None)
    assert at(lake, 0).waiting == 1
    assert at(lake, 23).removed == ()
    ledger.commit([file], {SOURCE: ledger.position(SOURCE)}, {SOURCE: position_after(message)})
    assert at(lake, 25)[:3] == ((), 0, 0)
    assert rows_of(lake, "gpu").num_rows == 24


def test_a_writer_that_stood_still_for_longer_commits_nothing_that_is_gone(tmp_path: Path) -> None:
    """Stopped between naming and committing; its next try makes the files anew."""
    lake = lake_of(tmp_path, range(2))

    def stand_still(step: str) -> None:
        if step == "files named":
            at(lake, 0)
            assert len(at(lake, 25).removed) == 1

    with pytest.raises(UnavailableError, match="nothing of it is in the table"):
        Tables(lake, "event", stand_still).flush({SOURCE: [gpu_message(2)]}, None)
    lake_of(lake, range(2, 3))
    assert rows_of(lake, "gpu").num_rows == 24


def test_a_file_that_is_unused_again_waits_anew(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(2))
    ledger = Ledger(TABLE, lake)
    message = gpu_message(2)
    file = write_file(
        read_rows(GPU_TOPIC, [message], None, "event")["gpu"], "2026-03-01T12", TABLE, ledger.folder, lambda _: None
    )
    at(lake, 0)
    ledger.commit([file], {SOURCE: ledger.position(SOURCE)}, {SOURCE: position_after(message)})
    at(lake, 1)
    ledger.replace([file.path], [], "retain/x")
    assert at(lake, 25)[:3] == ((), 0, 1)
    assert at(lake, 49).removed == (f"gpu/{file.path}",)


def test_a_lost_notebook_only_makes_it_wait(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(2))
    replace_all(lake)
    at(lake, 0)
    (lake / ".upkeep" / "notebook.sqlite").write_bytes(b"garbage" * 1000)
    assert at(lake, 24)[:3] == ((), 0, 2)
    assert len(at(lake, 48).removed) == 2


def test_nothing_goes_while_a_log_is_damaged(tmp_path: Path) -> None:
    """An emptied entry reads as a commit of nothing, so that what it added looks unused."""
    lake = lake_of(tmp_path, range(2))
    at(lake, 0)
    (lake / "gpu" / "_delta_log" / f"{2:020d}.json").write_bytes(b"")
    for hours in (1, 30):
        done = at(lake, hours)
        assert "has no actions, so which files are in use is not known" in done.damaged[0]
        assert done.removed == ()
    assert len(list(lake.glob("gpu/hour=*/*.parquet"))) == 2


def test_a_damaged_log_keeps_no_other_table_from_its_turn(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(2))
    Tables(lake, "event").flush({Source(POWER_TOPIC, 0): [power_message(0, [1.0])]}, None)
    replace_all(lake)
    for entry in (lake / "power" / "_delta_log").glob("*.json"):
        entry.write_bytes(b"garbage")
    at(lake, 0)
    assert len(at(lake, 24).removed) == 2
    assert [sentence.split(":")[0] for sentence in retention_duty(lake, NOW + timedelta(days=99))] == [
        str(lake / "power") + " cannot be opened as a table of a lake",
        "gpu",
    ]
    assert scrub(lake, NOW, UpkeepSettings(), 60).files == 0


def test_folders_of_hours_go_when_they_have_long_been_empty(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(2))
    (lake / "gpu" / "hour=2020-01-01T00").mkdir()
    made = datetime.now(UTC)
    assert vacuum(lake, made, UpkeepSettings()).folders == 0
    assert vacuum(lake, made + timedelta(hours=2), UpkeepSettings()).folders == 1
    assert len(list(lake.glob("gpu/hour=*"))) == 1


def test_a_folder_that_is_half_restored_is_left_alone(tmp_path: Path) -> None:
    """Its files come before its logs."""
    (tmp_path / "gpu" / "hour=2026-03-01T12").mkdir(parents=True)
    (tmp_path / "gpu" / "hour=2026-03-01T12" / "flush-x.parquet").touch()
    at(tmp_path, 0)
    assert at(tmp_path, 100)[:3] == ((), 0, 0)


def test_the_verb_says_what_would_go(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(3))
    removed = replace_all(lake)
    for words, said in (
        (["--dry-run"], "would remove 0 files"),
        ([], "removed 0 files, 0.0 MB; 3 unused files"),
    ):
        answer = CliRunner().invoke(command, ["vacuum", "--lake", str(lake), *words])
        assert said in answer.stdout, answer.output
    assert all(path.exists() for path in removed)
