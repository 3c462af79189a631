"""A committed file that was cut: no answer, and a sentence that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from schemas.errors import DataLossError
from sinks.lake.flush import Tables
from sinks.lake.positions import Source
from sinks.sql.connection import connect
from sinks.sql.damage import refusing_damage
from tests.lake.readings import GPU_TOPIC, gpu_message
from wattline.commands.sql import command

SOURCE = Source(GPU_TOPIC, 0)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Return a lake whose table `gpu` has two files."""
    tables = Tables(tmp_path, "event")
    tables.flush({SOURCE: [gpu_message(offset) for offset in range(20)]}, None)
    tables.flush({SOURCE: [gpu_message(offset) for offset in range(20, 25)]}, None)
    return tmp_path


@pytest.mark.parametrize("share", [None, 0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("which", [0, 1])
def test_a_committed_file_that_is_cut_or_gone_is_named(lake: Path, which: int, share: float | None) -> None:
    path = sorted((lake / "gpu").glob("hour=*/*.parquet"), key=lambda each: each.stat().st_mtime_ns)[which]
    whole = path.read_bytes()
    if share is None:
        path.unlink()
    else:
        path.write_bytes(whole[: int(share * len(whole))])
    named = f"{path} .* and was {len(whole):,} bytes long when it was committed"
    with pytest.raises(DataLossError, match=named), refusing_damage(lake):
        connect(lake).sql("SELECT count(*) FROM raw.gpu").fetchall()
    answer = CliRunner().invoke(command, ["SELECT count(*) FROM raw.gpu", "--lake", str(lake)])
    assert isinstance(answer.exception, DataLossError)


def test_the_writer_goes_on_beside_a_cut_file(lake: Path) -> None:
    """It reads no data file: what is lost stays what it was."""
    path = next((lake / "gpu").glob("hour=*/*.parquet"))
    path.write_bytes(path.read_bytes()[:100])
    tables = Tables(lake, "event")
    tables.flush({SOURCE: [gpu_message(25)]}, None)
    position = tables.positions(SOURCE)["gpu"]
    assert position is not None and position.next == 26
