"""The scrubber finds every flipped bit, takes the file out of its table, and says what is missing."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable

from sinks.lake.flush import Tables
from sinks.lake.log_check import SET_ASIDE, check_log
from sinks.lake.positions import Source
from sinks.lake.tables import BY_NAME
from sinks.sql.connection import connect
from sinks.upkeep.aside import damage_of
from sinks.upkeep.damage import missing_note, read_damage
from sinks.upkeep.scrub import LEAST_ROUND_BYTES, Scrubbed, Unhashed, due, oldest_wait, scrub
from sinks.upkeep.settings import UpkeepSettings
from tests.lake.readings import GPU_TOPIC, START, gpu_message, places_of, rows_of
from wattline.commands.sql import command as sql_command

SOURCE = Source(GPU_TOPIC, 0)
GPU = BY_NAME["gpu"]
NOW = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = 3_600_000_000


def lake_of(lake: Path, flushes: range) -> Path:
    """Write a flush a message, each an hour after the one before."""
    tables = Tables(lake, "event")
    for offset in flushes:
        tables.flush({SOURCE: [gpu_message(offset, time=START + offset * HOUR)]}, None)
    return lake


def at(lake: Path, hours: float, round_secs: float = 60) -> Scrubbed:
    return scrub(lake, NOW + timedelta(hours=hours), UpkeepSettings(), round_secs)


def file_of(lake: Path, hour: str = "2026-03-01T12") -> Path:
    (path,) = lake.glob(f"gpu/hour={hour}/*.parquet")
    return path


def flip(path: Path, bit: int) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    """Page bodies, page headers, statistics, footer: 300 bits, each in the file alone."""
    lake = lake_of(tmp_path, range(1))
    path = file_of(lake)
    sound, chance = path.read_bytes(), random.Random(5)
    footer = pq.ParquetFile(path).metadata.serialized_size
    bits = len(sound) * 8
    spots = [chance.randrange(bits) for _ in range(200)]
    spots += [chance.randrange(bits - (footer + 8) * 8, bits) for _ in range(96)] + [0, bits - 1, bits // 2, 7]
    relative = str(path.relative_to(lake / "gpu"))
    assert damage_of(lake, GPU, relative) is None
    for spot in spots:
        flip(path, spot)
        assert "its bytes have SHA-256" in (damage_of(lake, GPU, relative) or ""), spot
        flip(path, spot)
    assert path.read_bytes() == sound


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def missing(path: Path) -> None:
    path.unlink()


def flipped(path: Path) -> None:
    flip(path, 8 * (path.stat().st_size // 3))


@pytest.mark.parametrize("damage", [cut, empty, longer, missing, flipped])
def test_a_damaged_file_leaves_its_table_and_the_others_stay(tmp_path: Path, damage: object) -> None:
    lake = lake_of(tmp_path, range(3))
    path = file_of(lake, "2026-03-01T13")
    damage(path)  # type: ignore[operator]
    was_there = path.exists()
    (found,) = at(lake, 0).damaged
    assert (found.table, found.hour, found.rows, found.lost) == ("gpu", "2026-03-01T13", 8, None)
    assert str(found).startswith("gpu, hour 2026-03-01T13, 8 rows appended 2026-03-01 13:00:00.005000 to")
    assert [(lake / "gpu" / SET_ASIDE / path.name).exists(), path.exists()] == [was_there, False]
    assert places_of(rows_of(lake, "gpu")) == [(0, offset, row) for offset in (0, 2) for row in range(8)]
    assert check_log(lake / "gpu") == []
    assert at(lake, 1).damaged == ()


def test_questions_go_on_with_a_clear_word(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(3))
    assert missing_note(lake) is None
    flipped(file_of(lake, "2026-03-01T13"))
    at(lake, 0)
    with connect(lake) as connection:
        assert connection.execute("SELECT count(*) FROM gpu").fetchone() == (16,)
        told = connection.execute('SELECT "table", hour, "rows", lost_rows FROM damage').fetchall()
    assert told == [("gpu", "2026-03-01T13", 8, None)]
    answer = CliRunner().invoke(sql_command, ["SELECT count(*) AS n FROM gpu", "--lake", str(lake), "--format", "csv"])
    assert answer.stdout == "n\n16\n"
    assert answer.stderr == f"note: {missing_note(lake)}\n"


def test_a_kill_between_note_and_commit_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = lake_of(tmp_path, range(2))
    flipped(file_of(lake))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sinks.lake.ledger.Ledger.replace", killed)
        at(lake, 0)
    assert len(read_damage(lake)) == 1 and len(DeltaTable(str(lake / "gpu")).file_uris()) == 2
    assert len(at(lake, 1).damaged) == 1
    assert len(read_damage(lake)) == 1 and rows_of(lake, "gpu").num_rows == 8


def test_what_was_found_sound_is_left_alone_for_half_of_the_time(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(3))
    assert at(lake, 0).files == 3
    assert at(lake, 1).files == 0
    lake_of(lake, range(3, 4))
    assert at(lake, 2).files == 1
    assert at(lake, 3.5 * 24).files == 3
    assert oldest_wait(lake, NOW + timedelta(hours=3.5 * 24 + 2)) == timedelta(hours=3.5 * 24)


def test_a_lost_notebook_means_beginning_anew(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, range(3))
    at(lake, 0)
    (lake / ".upkeep" / "notebook.sqlite").write_bytes(b"garbage" * 1000)
    assert at(lake, 1).files == 3


def unhashed(number: int, size: int, hours_ago: float | None) -> Unhashed:
    return Unhashed(GPU, f"{number:06d}", size, None if hours_ago is None else NOW - timedelta(hours=hours_ago))


def test_new_files_come_first_then_the_oldest() -> None:
    files = [unhashed(0, 10, 100), unhashed(1, 10, 160), unhashed(2, 10, None), unhashed(3, 10, 1)]
    assert [file.path for file in due(files, NOW, 7, 60)] == ["000002", "000001", "000000"]


def test_every_file_is_hashed_within_the_stated_time() -> None:
    """A lake of 400 files of 6.7 GB, 2.5 TB: rounds of half an hour, of which a third do not happen."""
    size = 100 * LEAST_ROUND_BYTES
    at_: list[datetime | None] = [None] * 400
    now, longest = NOW, timedelta()
    for round_ in range(3 * 7 * 48):  # three weeks
        now = NOW + timedelta(minutes=30 * round_)
        if round_ % 3 == 2:
            continue
        files = [Unhashed(GPU, str(number), size, seen) for number, seen in enumerate(at_)]
        for file in due(files, now, 7, 1_800):
            seen = at_[int(file.path)]
            longest = max(longest, now - (seen or NOW))
            at_[int(file.path)] = now
    assert None not in at_
    assert longest <= timedelta(days=7)
