"""The lock of a slot: its id is that of all who share it, and of nobody else."""

from __future__ import annotations

import os
from pathlib import Path

from streams.slot import lock_id


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def test_all_that_share_a_lock_name_it_alike(tmp_path: Path) -> None:
    first = lock_id(opened(tmp_path / "lock"))
    assert lock_id(opened(tmp_path / "lock")) == first
    assert lock_id(opened(tmp_path / "another")) != first


def test_machines_that_began_as_copies_of_one_disk_are_two_members(tmp_path: Path) -> None:
    """Fails where the file alone says it: two live processes with one static id are not fenced (traps.md 10)."""
    lock_id(opened(tmp_path / "lock"))
    (tmp_path / "copy").write_bytes((tmp_path / "lock").read_bytes())
    assert lock_id(opened(tmp_path / "lock"), "one") != lock_id(opened(tmp_path / "copy"), "other")
    assert lock_id(opened(tmp_path / "lock"), "one") == lock_id(opened(tmp_path / "copy"), "one")
