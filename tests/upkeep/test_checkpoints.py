"""A log stays short: a checkpoint is held against the entries before any of them goes, and opens the table at once."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from sinks.lake.flush import Tables
from sinks.lake.ledger import LOG, Ledger
from sinks.lake.positions import Source
from sinks.lake.tables import BY_NAME
from sinks.upkeep.checkpoints import KEPT, WrongCheckpointError, checkpoint_duty, checkpoints, clean, require_true
from sinks.upkeep.small import Compaction
from tests.lake.readings import GPU_TOPIC, gpu_message
from tests.upkeep.compacting import by_place, rows_in

TABLE = BY_NAME["gpu"]
NOW = datetime(2026, 3, 20, tzinfo=UTC)
SOURCE = Source(GPU_TOPIC, 0)


def written(lake: Path, offsets: range) -> None:
    """Commit a flush an offset."""
    tables = Tables(lake, "event")
    for offset in offsets:
        tables.flush({SOURCE: [gpu_message(offset)]}, None)


def let_it_age(lake: Path, age: timedelta) -> None:
    """Make everything in the log older than NOW by `age`."""
    moment = (NOW - age).timestamp()
    for path in (lake / "gpu" / LOG).iterdir():
        os.utime(path, (moment, moment))


def entries(lake: Path) -> list[int]:
    return sorted(int(path.name[:20]) for path in (lake / "gpu" / LOG).glob("*.json"))


def test_entries_go_below_a_checkpoint_that_is_old_enough_and_the_table_is_the_same(tmp_path: Path) -> None:
    written(tmp_path, range(4))
    assert "gpu: checkpoint at version 4" in list(checkpoint_duty(tmp_path, NOW))
    let_it_age(tmp_path, KEPT + timedelta(hours=1))
    written(tmp_path, range(4, 7))
    before, position = by_place(rows_in(tmp_path, "gpu")), Ledger(TABLE, tmp_path).position(SOURCE)
    assert list(checkpoint_duty(tmp_path, NOW)) == [
        "gpu: checkpoint at version 7",
        "gpu: 4 log entries older than 7 days are gone",
    ]
    assert (entries(tmp_path), checkpoints(tmp_path / "gpu")) == ([4, 5, 6, 7], [4, 7])
    assert by_place(rows_in(tmp_path, "gpu")).equals(before)
    assert Ledger(TABLE, tmp_path).position(SOURCE) == position
    assert DeltaTable(str(tmp_path / "gpu"), version=5).version() == 5, "a version of the last seven days can be had"
    assert list(checkpoint_duty(tmp_path, NOW)) == []


def test_nothing_goes_that_is_younger_than_seven_days(tmp_path: Path) -> None:
    written(tmp_path, range(3))
    list(checkpoint_duty(tmp_path, NOW))
    let_it_age(tmp_path, KEPT - timedelta(hours=1))
    assert clean(tmp_path / "gpu", NOW) == 0
    assert entries(tmp_path) == [0, 1, 2, 3]


@pytest.mark.parametrize("fault", ["cut", "other"])
def test_no_entry_goes_below_a_checkpoint_that_is_not_what_they_say(tmp_path: Path, fault: str) -> None:
    written(tmp_path, range(3))
    list(checkpoint_duty(tmp_path, NOW))
    path = tmp_path / "gpu" / LOG / f"{3:020d}.checkpoint.parquet"
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        rows = pq.read_table(path)
        pq.write_table(
            rows.filter([not (add and add["path"].startswith("hour")) for add in rows["add"].to_pylist()]), path
        )
    let_it_age(tmp_path, KEPT + timedelta(hours=1))
    with pytest.raises(WrongCheckpointError, match="The log keeps all its entries"):
        clean(tmp_path / "gpu", NOW)
    assert entries(tmp_path) == [0, 1, 2, 3]
    said = [sentence for sentence in checkpoint_duty(tmp_path, NOW) if sentence.startswith(str(tmp_path / "gpu"))]
    assert len(said) == 1, "said, and no reason to leave the other tables"
    if fault == "cut":
        assert "cannot be opened" in said[0]
        assert any(sentence == said[0] for sentence in Compaction()(tmp_path, NOW))


def test_a_table_of_ten_thousand_versions_opens_in_less_than_300_ms(tmp_path: Path) -> None:
    """Built of entries like those of a flush, 10,000 of them; opening reads one checkpoint. The least of five."""
    written(tmp_path, range(1))
    log = tmp_path / "gpu" / LOG
    entry = (log / f"{1:020d}.json").read_text()
    (add,) = [json.loads(line)["add"] for line in entry.splitlines() if line.startswith('{"add"')]
    for version in range(2, 10_000):
        name = add["path"].replace("flush-", f"flush-{version:08x}")
        (log / f"{version:020d}.json").write_text(entry.replace(add["path"], name))
    said = list(checkpoint_duty(tmp_path, NOW))
    assert said[0] == "gpu: checkpoint at version 9999"
    require_true(tmp_path / "gpu", 9999)
    taken = []
    for _ in range(5):
        began = time.process_time()
        assert DeltaTable(str(tmp_path / "gpu")).version() == 9999
        taken.append(time.process_time() - began)
    print(f"opened in {min(taken) * 1000:.0f} ms of CPU")
    assert min(taken) < 0.3
