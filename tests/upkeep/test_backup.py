"""Backups hold one moment of a lake, each file once; a restore brings that moment or says why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from schemas.errors import ConfigurationError, DataLossError, UnavailableError
from sinks.lake.flush import Tables
from sinks.lake.locks import lake_lock
from sinks.lake.positions import Source
from sinks.lake.start import RESTORING
from sinks.upkeep import backup as backup_module
from sinks.upkeep import restore as restore_module
from sinks.upkeep.backup import back_up, points
from sinks.upkeep.checksum import DamagedFileError, copy_checked
from sinks.upkeep.restore import restore
from tests.lake.readings import GPU_TOPIC, gpu_message, rows_of

SOURCE = Source(GPU_TOPIC, 0)
NOW = datetime(2026, 3, 1, 13, tzinfo=UTC)


def lake_of(lake: Path, flushes: range) -> Path:
    tables = Tables(lake, "event")
    for offset in flushes:
        tables.flush({SOURCE: [gpu_message(offset)]}, None)
    return lake


def files_below(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*.parquet")}


@pytest.mark.parametrize("has_checkpoint", [False, True])
@pytest.mark.parametrize("link", [False, True])
def test_a_restored_lake_is_the_one_that_was_backed_up(tmp_path: Path, *, has_checkpoint: bool, link: bool) -> None:
    lake = lake_of(tmp_path / "lake", range(4))
    if has_checkpoint:
        Tables(lake)._ledgers["gpu"].checkpoint()
    lake_of(lake, range(4, 6))
    before = rows_of(lake, "gpu")
    back_up(lake, tmp_path / "backup", NOW, link=link)
    lake_of(lake, range(6, 8))
    done = restore(tmp_path / "backup", tmp_path / "restored")
    assert rows_of(tmp_path / "restored", "gpu").equals(before)
    position = Tables(tmp_path / "restored").positions(SOURCE)["gpu"]
    assert position is not None and position.next == 6
    assert (done.files, done.damaged) == (before.num_rows // 8, ())


def test_what_lake_toml_says_comes_back_with_it(tmp_path: Path) -> None:
    lake = lake_of(tmp_path / "lake", range(1))
    (lake / "lake.toml").write_text("scrub_days = 3")
    back_up(lake, tmp_path / "backup", NOW)
    restore(tmp_path / "backup", tmp_path / "restored")
    assert (tmp_path / "restored" / "lake.toml").read_text() == "scrub_days = 3"


def test_a_second_backup_brings_only_what_is_new_and_both_can_be_restored(tmp_path: Path) -> None:
    lake, backup = lake_of(tmp_path / "lake", range(3)), tmp_path / "backup"
    back_up(lake, backup, NOW)
    lake_of(lake, range(3, 5))
    assert back_up(lake, backup, NOW + timedelta(hours=1)).copied_files == 2
    first, second = points(backup)
    restore(backup, tmp_path / "one", name=first.name)
    restore(backup, tmp_path / "two")
    assert [rows_of(tmp_path / name, "gpu").num_rows for name in ("one", "two")] == [24, 40]
    assert second.tables["gpu"].rows == 40


@pytest.mark.parametrize("later", [timedelta(0), timedelta(milliseconds=400), -timedelta(days=1)])
def test_two_points_of_one_second_and_one_of_a_clock_that_was_set_back_are_two(
    tmp_path: Path, later: timedelta
) -> None:
    """Fails where a point's name is its second alone: it cannot be moved into place, or is removed as the oldest."""
    lake, backup = lake_of(tmp_path / "lake", range(3)), tmp_path / "backup"
    back_up(lake, backup, NOW, keep=1)
    lake_of(lake, range(3, 5))
    second = back_up(lake, backup, NOW + later, keep=1).point
    assert [point.name for point in points(backup)] == [second.name]
    assert second.tables["gpu"].rows == 40


def test_old_points_go_and_only_files_that_no_point_has_go_with_them(tmp_path: Path) -> None:
    lake, backup = lake_of(tmp_path / "lake", range(2)), tmp_path / "backup"
    back_up(lake, backup, NOW)
    other = lake_of(tmp_path / "other", range(5, 6))
    done = back_up(other, backup, NOW + timedelta(hours=1), keep=1)
    assert (done.removed_points, done.removed_files) == (1, 2)
    assert files_below(backup / "files" / "gpu") == files_below(other / "gpu")
    restore(backup, tmp_path / "restored")
    assert rows_of(tmp_path / "restored", "gpu").num_rows == 8


def test_a_file_that_rotted_is_not_backed_up_and_the_older_point_stays(tmp_path: Path) -> None:
    lake, backup = lake_of(tmp_path / "lake", range(2)), tmp_path / "backup"
    back_up(lake, backup, NOW)
    lake_of(lake, range(2, 3))
    new = next(iter(files_below(lake / "gpu") - files_below(backup / "files" / "gpu")))
    flip(lake / "gpu" / new)
    with pytest.raises(DamagedFileError, match=r"the points that are there stay.*wattline lake scrub"):
        back_up(lake, backup, NOW + timedelta(hours=1))
    assert [point.name for point in points(backup)] == ["2026-03-01T130000Z"]
    assert new not in files_below(backup / "files" / "gpu")


def flip(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


def test_rot_in_a_backup_is_found_by_check_and_mended_from_the_lake(tmp_path: Path) -> None:
    lake, backup = lake_of(tmp_path / "lake", range(2)), tmp_path / "backup"
    back_up(lake, backup, NOW)
    flip(next((backup / "files").rglob("*.parquet")))
    with pytest.raises(DamagedFileError, match="--despite-damage"):
        restore(backup, tmp_path / "restored")
    assert back_up(lake, backup, NOW + timedelta(hours=1), check=True).copied_files == 1
    restore(backup, tmp_path / "restored", name="2026-03-01T130000Z")
    assert rows_of(tmp_path / "restored", "gpu").num_rows == 16


def test_rot_that_the_lake_cannot_mend_is_named(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    back_up(lake_of(tmp_path / "lake", range(2)), backup, NOW)
    rotten = next((backup / "files").rglob("*.parquet"))
    flip(rotten)
    with pytest.raises(DataLossError, match=f"1 files of older points are damaged.*{rotten.name}"):
        back_up(lake_of(tmp_path / "other", range(5, 6)), backup, NOW + timedelta(hours=1), check=True)
    done = restore(backup, tmp_path / "restored", name="2026-03-01T130000Z", despite_damage=True)
    assert done.damaged == (f"gpu/{rotten.relative_to(backup / 'files' / 'gpu')}",)


def test_nothing_is_restored_over_a_lake_or_under_a_live_writer(tmp_path: Path) -> None:
    lake = lake_of(tmp_path / "lake", range(2))
    back_up(lake, tmp_path / "backup", NOW)
    with pytest.raises(ConfigurationError, match="there is a lake already"):
        restore(tmp_path / "backup", lake)
    writer = lake_lock(tmp_path / "empty")
    assert writer.try_shared()
    with pytest.raises(ConfigurationError, match="a lake writer is alive"):
        restore(tmp_path / "backup", tmp_path / "empty")
    writer.release()


def test_an_interrupted_restore_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, backup, restored = lake_of(tmp_path / "lake", range(3)), tmp_path / "backup", tmp_path / "restored"
    back_up(lake, backup, NOW)
    whole = restore(backup, tmp_path / "whole").files

    def stop_after_one(source: Path, target: Path) -> None:
        if list(restored.rglob("*.parquet")):
            raise KeyboardInterrupt
        copy_checked(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(restore_module, "copy_checked", stop_after_one)
        restore(backup, restored)
    assert (restored / RESTORING).exists()
    with pytest.raises(ConfigurationError, match="a restore was not finished here"):
        back_up(restored, tmp_path / "other", NOW)
    assert restore(backup, restored).files == whole - 1
    assert not (restored / RESTORING).exists()
    assert rows_of(restored, "gpu").num_rows == 24


def test_an_interrupted_backup_is_no_point_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, backup = lake_of(tmp_path / "lake", range(3)), tmp_path / "backup"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(backup_module, "_finish", killed)
        back_up(lake, backup, NOW)
    assert points(backup) == []
    assert back_up(lake, backup, NOW).copied_files == 0
    assert len(points(backup)) == 1


def test_files_that_vanish_meanwhile_mean_a_newer_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What compaction and vacuum do to a backup that takes long."""
    lake, backup = lake_of(tmp_path / "lake", range(3)), tmp_path / "backup"
    stage, times = backup_module._stage, 0

    def stage_then_lose(*given: object) -> backup_module.Point:
        nonlocal times
        times += 1
        point = stage(*given)
        if times == 1:
            return backup_module.Point(
                "x", NOW, "", {"gpu": backup_module.TablePoint(1, 0, {"hour=x/gone.parquet": 1})}
            )
        return point

    monkeypatch.setattr(backup_module, "_stage", stage_then_lose)
    assert back_up(lake, backup, NOW).copied_files == 3
    assert times == 2


def test_files_that_go_on_vanishing_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = lake_of(tmp_path / "lake", range(1))
    next((lake / "gpu").glob("hour=*/*.parquet")).unlink()
    with pytest.raises(UnavailableError, match=r"5 times, the last one .*flush-"):
        back_up(lake, tmp_path / "backup", NOW)


def test_a_torn_log_is_no_backup(tmp_path: Path) -> None:
    lake = lake_of(tmp_path / "lake", range(3))
    entry = lake / "gpu" / "_delta_log" / f"{2:020d}.json"
    entry.write_bytes(b"\n".join(entry.read_bytes().splitlines()[:-1]))
    with pytest.raises(DataLossError, match="Stop the lake writer and start it again"):
        back_up(lake, tmp_path / "backup", NOW)
    assert DeltaTable(str(lake / "gpu")).version() == 3
    assert points(tmp_path / "backup") == []
