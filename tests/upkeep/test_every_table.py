"""Every table of a lake at once: what is asked has the same answer before and after its hours were compacted."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sinks.lake.ledger import Ledger
from sinks.lake.tables import TABLES
from sinks.sql.connection import connect
from sinks.upkeep.small import Compaction
from tests.lake.test_golden_lakes import GOLDEN

VIEWS = (
    "gpu",
    "power",
    "windows",
    "histograms",
    "jobs",
    "job_records",
    "progress",
    "alerts",
    "rejected",
    "raw.facility",
)


def answers(lake: Path) -> dict[str, list[str]]:
    """Return every row of every view, and the answers to the golden lake's own questions."""
    questions = [*json.loads((lake / "answers.json").read_text()), *(f"SELECT * FROM {view}" for view in VIEWS)]
    with connect(lake) as connection:
        return {each: sorted(map(repr, connection.execute(each).fetchall())) for each in questions}


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_every_view_of_a_lake_shows_the_same_after_compaction(golden: Path, tmp_path: Path) -> None:
    lake = shutil.copytree(golden, tmp_path / "lake")
    before = answers(lake)
    said = list(Compaction()(lake, datetime(2035, 1, 1, tzinfo=UTC)))
    assert said and not any("stays as it is" in sentence for sentence in said)
    tables = [table for table in TABLES if table.folder(lake).is_dir()]
    live = {table.name: Ledger(table, lake).live().values() for table in tables}
    assert [name for name, files in live.items() if not all(file.is_of_hour for file in files)] == []
    assert sum(len(files) for files in live.values()) >= len(VIEWS) - 2
    assert answers(lake) == before
    assert list(Compaction()(lake, datetime(2035, 1, 1, tzinfo=UTC))) == []
