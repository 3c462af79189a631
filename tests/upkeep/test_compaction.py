"""Hours become few sorted files: what stands is what stood, and what goes wrong changes nothing."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from sinks.lake.flush import Tables
from sinks.lake.hour_file import HourFile
from sinks.lake.ledger import Ledger, ReplacedError
from sinks.lake.order import integers
from sinks.lake.parquet import Step
from sinks.lake.positions import Source
from sinks.lake.repeated import REPEATED
from sinks.lake.tables import BY_NAME
from sinks.upkeep import compaction, merge
from sinks.upkeep.compaction import HALF_MADE, DifferentError, compact_hour
from sinks.upkeep.runs import UnfitFileError, is_in_order
from sinks.upkeep.small import AGAIN_SECS, Compaction
from tests.conftest import REPOSITORY
from tests.lake.readings import GPU_TOPIC, POWER_TOPIC, power_message
from tests.upkeep.compacting import HOUR, by_place, gpu_lake, rows_in, standing_rows

TABLE = BY_NAME["gpu"]
STEPS = [
    ("run merged", 1),
    ("run merged", 3),
    ("file written", 1),
    ("file synced", 2),
    ("file named", 1),
    ("file named", 2),
    ("files verified", 1),
    ("entry written", 1),
    ("entry synced", 1),
]


def little_memory(patch: pytest.MonkeyPatch) -> None:
    """Make a lake of a few rows one that is merged in several steps, into several files."""
    patch.setattr(merge, "MEMORY_BYTES", 3_000)
    patch.setattr(merge, "_LEAST_GROUP_ROWS", 4)
    patch.setattr(compaction, "FILE_ROWS", 100)


def test_an_hour_becomes_sorted_files_in_which_each_identity_stands_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little_memory(monkeypatch)
    gpu_lake(tmp_path)
    before, ledger = rows_in(tmp_path, "gpu"), Ledger(TABLE, tmp_path)
    old, positions = set(ledger.live()), ledger.position(Source(GPU_TOPIC, 0))
    told = compact_hour(ledger, HOUR)
    expected = standing_rows(before, "gpu")
    assert by_place(rows_in(tmp_path, "gpu")).equals(expected)
    assert (told.rows, told.dropped) == (len(expected), before.num_rows - len(expected))
    assert told.dropped > 0
    live = Ledger(TABLE, tmp_path).live()
    assert len(live) == told.files_after == 2  # a rack a file
    assert all(file.is_of_hour and file.hour == HOUR for file in live.values())
    for path in live:
        rows = pq.ParquetFile(ledger.folder / path).read()
        assert is_in_order([integers(rows.column(name)) for name in (*TABLE.sort, "time")])
    assert Ledger(TABLE, tmp_path).position(Source(GPU_TOPIC, 0)) == positions
    assert all((ledger.folder / path).exists() for path in old), "what was removed waits for vacuum"
    assert not (ledger.folder / HALF_MADE).exists()


def test_the_commit_says_how_many_rows_do_not_stand_and_the_footer_of_which_messages(tmp_path: Path) -> None:
    gpu_lake(tmp_path)
    ledger = Ledger(TABLE, tmp_path)
    before = by_place(rows_in(tmp_path, "gpu"))
    told = compact_hour(ledger, HOUR)
    words = DeltaTable(str(ledger.folder)).history(1)[0]
    assert (words["dropped"], words["rows"]) == (told.dropped, told.rows)
    repeated: dict[str, list[list[int]]] = {}
    for path in ledger.live():
        repeated |= json.loads(pq.read_metadata(ledger.folder / path).metadata[REPEATED.encode()])
    gone = before.join(by_place(rows_in(tmp_path, "gpu")), on=["_partition", "_offset", "_row"], how="anti")
    assert {offset for low, high in repeated["0"] for offset in range(low, high)} == set(gone["_offset"])


def test_rows_that_come_late_are_merged_in_later(tmp_path: Path) -> None:
    gpu_lake(tmp_path, flushes=3)
    compact_hour(Ledger(TABLE, tmp_path), HOUR)
    gpu_lake(tmp_path, flushes=3, first=3)
    before = rows_in(tmp_path, "gpu")
    compact_hour(Ledger(TABLE, tmp_path), HOUR)
    assert by_place(rows_in(tmp_path, "gpu")).equals(standing_rows(before, "gpu"))
    assert all(file.is_of_hour for file in Ledger(TABLE, tmp_path).live().values())


def test_of_two_compactions_of_one_snapshot_one_is_made_and_the_other_leaves_nothing(tmp_path: Path) -> None:
    gpu_lake(tmp_path)
    expected = standing_rows(rows_in(tmp_path, "gpu"), "gpu")
    first, second = Ledger(TABLE, tmp_path), Ledger(TABLE, tmp_path)
    compact_hour(first, HOUR)
    with pytest.raises(ReplacedError):
        compact_hour(second, HOUR)
    assert by_place(rows_in(tmp_path, "gpu")).equals(expected)
    assert len(list((tmp_path / "gpu" / f"hour={HOUR}").glob("hour-*"))) == 1


def test_what_a_writer_adds_meanwhile_stays(tmp_path: Path) -> None:
    gpu_lake(tmp_path, flushes=3)
    stale = Ledger(TABLE, tmp_path)
    gpu_lake(tmp_path, flushes=1, first=3)
    before = rows_in(tmp_path, "gpu")
    compact_hour(stale, HOUR)
    assert standing_rows(rows_in(tmp_path, "gpu"), "gpu").equals(standing_rows(before, "gpu"))
    assert sum(not file.is_of_hour for file in stale.live().values()) == 1


@pytest.mark.parametrize(("step", "occurrence"), STEPS)
def test_a_kill_at_any_step_changes_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, occurrence: int
) -> None:
    gpu_lake(tmp_path)
    expected = standing_rows(rows_in(tmp_path, "gpu"), "gpu")
    before = rows_in(tmp_path, "gpu")
    options = {"lake": str(tmp_path), "step": step, "occurrence": occurrence}
    killed = subprocess.run(
        [sys.executable, "-m", "tests.upkeep.compaction_process", json.dumps(options)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    after = by_place(rows_in(tmp_path, "gpu"))
    assert after.equals(expected if step.startswith("entry") else by_place(before))
    little_memory(monkeypatch)
    later = Compaction()
    list(later(tmp_path, datetime.now(UTC)))
    assert by_place(rows_in(tmp_path, "gpu")).equals(expected)
    assert all(file.is_of_hour for file in Ledger(TABLE, tmp_path).live().values())
    assert not (tmp_path / "gpu" / HALF_MADE).exists()


def test_a_damaged_page_keeps_its_hour_as_it_is_and_no_other(tmp_path: Path) -> None:
    gpu_lake(tmp_path)
    ledger = Ledger(TABLE, tmp_path)
    path = ledger.folder / sorted(ledger.live())[0]
    raw = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(7)
    raw[column.data_page_offset + column.total_compressed_size // 2] ^= 0x10
    path.write_bytes(raw)
    live = set(ledger.live())
    with pytest.raises(UnfitFileError, match="row group 0"):
        compact_hour(ledger, HOUR)
    clock = [0.0]
    duty = Compaction(lambda: clock[0])
    (said,) = duty(tmp_path, datetime.now(UTC))
    assert said.startswith(f"gpu {HOUR} stays as it is: {path}")
    assert list(duty(tmp_path, datetime.now(UTC))) == [], "what was refused is not tried again as it is"
    clock[0] = AGAIN_SECS
    assert list(duty(tmp_path, datetime.now(UTC))) == [said], "but in an hour: the disk may have been mended"
    assert set(Ledger(TABLE, tmp_path).live()) == live
    assert not list(path.parent.glob("hour-*"))


def test_a_disk_that_is_full_keeps_one_hour_as_it_is_and_no_other(tmp_path: Path) -> None:
    gpu_lake(tmp_path)
    Tables(tmp_path, "event").flush({Source(POWER_TOPIC, 0): [power_message(0, [5.0, 6.0])]}, None)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    live = set(Ledger(TABLE, tmp_path).live())
    duty = Compaction()
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, most))  # room for a file of two readings, not for one of 336
    try:
        said = list(duty(tmp_path, datetime.now(UTC)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert said[0].startswith(f"gpu {HOUR} stays as it is: ") and "File too large" in said[0]
    assert said[1].startswith(f"power {HOUR}: 2 rows")
    assert set(Ledger(TABLE, tmp_path).live()) == live
    assert not (tmp_path / "gpu" / HALF_MADE).exists()


@pytest.mark.parametrize("fault", ["lost", "changed"])
def test_what_is_not_read_back_as_it_was_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    gpu_lake(tmp_path)
    before, write = by_place(rows_in(tmp_path, "gpu")), HourFile.write

    def faulty(self: HourFile, rows: pa.Table) -> None:
        if fault == "lost":
            rows = rows.slice(1)
        else:
            at = rows.schema.get_field_index("gpu")
            rows = rows.set_column(at, rows.schema.field(at), pa.array([0] * rows.num_rows, rows.schema.field(at).type))
        write(self, rows)

    monkeypatch.setattr(HourFile, "write", faulty)
    with pytest.raises(DifferentError, match=f"gpu {HOUR} stays as it is"):
        compact_hour(Ledger(TABLE, tmp_path), HOUR)
    assert by_place(rows_in(tmp_path, "gpu")).equals(before)
    assert not list((tmp_path / "gpu" / f"hour={HOUR}").glob("hour-*"))


def test_the_steps_that_are_killed_at_are_all_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little_memory(monkeypatch)
    gpu_lake(tmp_path)
    seen: list[str] = []
    step: Step = seen.append
    compact_hour(Ledger(TABLE, tmp_path, step), HOUR, step)
    assert set(seen) == {name for name, _ in STEPS}
